"""Word lists that the naming rules read. English, small on purpose: each list only has what rarely means another
thing."""

from __future__ import annotations


def _split(words: str) -> list[str]:
    return words.split()


PERSON_TYPES = frozenset({"peop", "people", "person", "per", "human"})
PLACE_TYPES = frozenset(
    {"loc", "location", "place", "gpe", "city", "country", "state", "stateorprovince", "state_or_province", "fac"}
)
ORGANIZATION_TYPES = frozenset({"org", "organization", "organisation", "company", "institution"})
"""Type names, in lower case, by what they name. Any other type is of no kind, and only the general rules apply."""

TITLES: dict[str, str] = {
    **dict.fromkeys(_split("mr mister sir lord"), "m"),
    **dict.fromkeys(_split("mrs miss ms madam lady dame"), "f"),
    **dict.fromkeys(
        _split(
            "dr doctor prof professor president vice prime minister premier chancellor senator sen "
            "congressman congresswoman representative rep governor gov mayor general gen colonel col captain "
            "capt major sergeant sgt lieutenant lt admiral commander judge justice reverend rev secretary "
            "ambassador attorney chairman chairwoman director sheriff detective officer inspector coach"
        ),
        "",
    ),
}
"""Words before a name that are not part of it, and the gender that they tell."""

WIFE_TITLES = frozenset({"mrs", "lady"})
"""These may stand before a husband's surname, so they join only names that are a woman's by themselves."""

RULER_TITLES = frozenset(_split("king queen prince princess pope emperor empress saint st sultan tsar duke duchess"))
"""Titles that are part of the name: Pope Francis is not just any Francis."""

GENERATIONS = {
    **dict.fromkeys(_split("jr junior"), "junior"),
    **dict.fromkeys(_split("sr senior"), "senior"),
    **{roman: str(n) for n, roman in enumerate(_split("i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi"), 1)},
}

NUMBERS = {
    **{
        word: str(n)
        for n, word in enumerate(
            _split(
                "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
                "seventeen eighteen nineteen twenty"
            ),
            1,
        )
    },
    **{
        word: str(n) + ("st", "nd", "rd")[n - 1] if n < 4 else f"{n}th"
        for n, word in enumerate(
            _split("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), 1
        )
    },
}

LEGAL_FORMS = {
    **dict.fromkeys(_split("inc incorporated"), "incorporated"),
    **dict.fromkeys(_split("corp corporation"), "corporation"),
    **dict.fromkeys(_split("co company"), "company"),
    **dict.fromkeys(_split("ltd limited"), "limited"),
    **{form: form for form in _split("llc plc gmbh ag kgaa sa nv bv ab spa llp")},
}

KINDS = frozenset({"university", "airlines", "airways", "group", "newspaper", "magazine"})
"""What an organization is, at the end of its name: often left out when it is named again."""

SMALL_WORDS = frozenset(_split("of the and for in on at to de la le du von van der"))

GENERIC = frozenset(
    _split(
        "company corporation bank city town village state country county government police army navy "
        "court school house university college hospital office team party church group agency department "
        "ministry firm plant airport station man woman boy girl child husband wife father mother brother "
        "sister son daughter friend people family king queen prince princess pope emperor spokesman "
        "spokeswoman leader manager chief head owner author teacher student witness victim suspect "
        "defendant limited incorporated"
    )
)
"""What is named by these words alone (and titles, and what stands before them) has no name of its own."""

DETERMINERS = frozenset(_split("a an his her their my our your its this that these those some"))

ABBREVIATED_WORDS = {
    "place": {"st": "saint", "mt": "mount", "ft": "fort"},
    "organization": {
        "univ": "university",
        "dept": "department",
        "intl": "international",
        "natl": "national",
        "assn": "association",
        "assoc": "association",
        "govt": "government",
        "mfg": "manufacturing",
        "bros": "brothers",
    },
}

STATES = {
    "ala": "alabama", "ariz": "arizona", "ark": "arkansas", "calif": "california", "colo": "colorado",
    "conn": "connecticut", "del": "delaware", "fla": "florida", "ga": "georgia", "ill": "illinois", "ind": "indiana",
    "kan": "kansas", "ky": "kentucky", "la": "louisiana", "md": "maryland", "mass": "massachusetts",
    "mich": "michigan", "minn": "minnesota", "miss": "mississippi", "mo": "missouri", "mont": "montana",
    "neb": "nebraska", "nev": "nevada", "okla": "oklahoma", "ore": "oregon", "pa": "pennsylvania",
    "tenn": "tennessee", "tex": "texas", "vt": "vermont", "va": "virginia", "wash": "washington", "wis": "wisconsin",
    "wyo": "wyoming",
}  # fmt: skip
"""Newspapers' abbreviations; they count only with their dot."""

KNOWN = {
    "who": ("world health organization", "world health organisation"),
    "un": ("united nations",),
    "eu": ("european union",),
    "nato": ("north atlantic treaty organization", "north atlantic treaty organisation"),
    "fbi": ("federal bureau of investigation",),
    "cia": ("central intelligence agency",),
    "nsa": ("national security agency",),
    "nasa": ("national aeronautics and space administration",),
    "imf": ("international monetary fund",),
    "wto": ("world trade organization", "world trade organisation"),
    "bbc": ("british broadcasting corporation",),
    "nbc": ("national broadcasting company",),
    "cnn": ("cable news network",),
    "mit": ("massachusetts institute of technology",),
    "nba": ("national basketball association",),
    "nfl": ("national football league",),
    "nhl": ("national hockey league",),
    "epa": ("environmental protection agency",),
    "fda": ("food and drug administration",),
    "cdc": ("centers for disease control", "centers for disease control and prevention"),
    "irs": ("internal revenue service",),
    "nyse": ("new york stock exchange",),
    "opec": ("organization of petroleum exporting countries", "organization of the petroleum exporting countries"),
    "unesco": ("united nations educational scientific and cultural organization",),
    "unicef": ("united nations childrens fund",),
    "us": ("united states", "united states of america", "usa"),
    "uk": ("united kingdom",),
    "uae": ("united arab emirates",),
    "ussr": ("union of soviet socialist republics", "soviet union"),
}
"""Abbreviations that everybody knows, and what they stand for: these hold across recordings, and nothing else may
stand for them."""

NICKNAMES = {
    nickname: name
    for name, nicknames in {
        "william": "bill billy will", "robert": "bob bobby rob", "james": "jim jimmy", "edward": "ted ed eddie",
        "richard": "dick rick", "michael": "mike", "joseph": "joe", "thomas": "tom tommy",
        "elizabeth": "liz beth betty",
        "margaret": "maggie peggy", "katherine": "kate kathy", "samuel": "sam", "benjamin": "ben", "anthony": "tony",
        "daniel": "danny", "stephen": "steve", "steven": "steve", "charles": "charlie", "kenneth": "ken",
        "ronald": "ron", "donald": "don", "andrew": "andy", "gregory": "greg", "matthew": "matt", "nicholas": "nick",
        "timothy": "tim", "susan": "sue", "deborah": "debbie", "jennifer": "jenny", "christopher": "chris",
    }.items()
    for nickname in nicknames.split()
}  # fmt: skip

WOMEN = frozenset(
    _split(
        "mary patricia jennifer linda elizabeth barbara susan jessica sarah sara karen lisa nancy betty "
        "sandra margaret ashley kimberly emily donna michelle carol amanda melissa deborah stephanie "
        "dorothy rebecca sharon laura cynthia amy kathleen angela shirley brenda emma anna pamela nicole "
        "samantha katherine catherine christine helen debra rachel carolyn janet maria olivia heather "
        "diane julie joyce victoria ruth virginia lauren kelly christina joan evelyn judith andrea hannah "
        "jacqueline martha gloria teresa ann anne sara madison frances kathryn janice jean alice julia "
        "judy sophia grace denise amber marilyn danielle beverly isabella theresa diana natalie brittany "
        "charlotte marie kayla alexis lori hillary oprah serena venus paula carla erica martina danielle "
        "mia eva claire jane ellen lucy rose"
    )
)
MEN = frozenset(
    _split(
        "james robert john michael david william richard joseph thomas charles christopher daniel matthew "
        "anthony mark donald steven paul andrew joshua kenneth kevin brian george timothy ronald edward "
        "jason jeffrey ryan jacob gary nicholas eric jonathan stephen larry justin scott brandon benjamin "
        "samuel gregory alexander frank patrick raymond jack dennis jerry tyler aaron jose adam nathan "
        "henry douglas zachary peter kyle ethan walter noah jeremy christian keith roger terry austin "
        "sean gerald carl harold dylan arthur lawrence jordan jesse bryan billy bruce gabriel joe logan "
        "alan juan albert willie elijah wayne randy mario vincent ralph roy bobby johnny bradley bill bob "
        "jim mike tom tim ted dick barack franklin theodore francis martin julian karl philip phillip "
        "fred leo oscar hugo otto hans"
    )
)
"""Given names that are nearly always a woman's or a man's: they keep apart, they never join."""
