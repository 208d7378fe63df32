"""Long runs over many recordings, in parts that can be stopped, gone on with, and spread over machines."""
