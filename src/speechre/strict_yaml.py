"""YAML that people write: a key given twice is an error, not the second value in silence."""

from __future__ import annotations

from typing import Any


def load_yaml(text: str) -> Any:
    """As ``yaml.safe_load``. Raises ``yaml.YAMLError`` on what is no YAML and on a mapping that has a key twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads plain values only."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:str":  # "<<" lays one mapping under another
                    continue
                if key.value in seen:
                    problem = f'the key "{key.value}" is given twice'
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)
