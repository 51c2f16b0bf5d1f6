"""What structures are in the terms of a terminology: codes for DICOM, and the tags in which 3D Slicer keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BadInputError
from .messages import _

# The names of the lists that Slicer's tags begin with.
_CATEGORIES = "Segmentation category and type - 3D Slicer General Anatomy list"
_LONGEST_SCHEME, _LONGEST_MEANING = 16, 64  # characters; see PS3.3, 8.8
_REGIONS = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Code:
    """A coded term: scheme ('SCT'), value ('10200004') and meaning ('Liver')."""

    scheme: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"

    @classmethod
    def parsed(cls, text: str) -> Code | None:
        """From the form of Slicer's tags, 'SCT^10200004^Liver'; None when it is not complete."""
        parts = text.split("^")
        return cls(*parts) if len(parts) == 3 and all(parts) else None


@dataclass(frozen=True)
class StructureCodes:
    """The codes of a structure; the default says no more than that it is tissue.

    Attributes:
        category, type: segmented property. modifier: of the type, such as 'Left'. region: where in the body it lies.
        region_modifier: of the region.
    """

    category: Code = Code("SCT", "85756007", "Tissue")
    type: Code = Code("SCT", "85756007", "Tissue")
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @classmethod
    def from_slicer(cls, tag: str) -> StructureCodes | None:
        """From Slicer's tag, 'context~category~type~modifier~context~region~modifier'; None when it names no type."""
        parts = [*(Code.parsed(part) for part in tag.split("~")), *[None] * 7]
        _, category, kind, modifier, _, region, region_modifier = parts[:7]
        if category is None or kind is None:
            return None
        return cls(category, kind, modifier, region, region_modifier if region is not None else None)

    def require_writable(self, name: str) -> None:
        """Raise BadInputError when the codes of a structure with this name cannot be written to DICOM."""
        for code in filter(None, (self.category, self.type, self.modifier, self.region, self.region_modifier)):
            if len(code.scheme) > _LONGEST_SCHEME or len(code.meaning) > _LONGEST_MEANING or "\\" in str(code):
                raise BadInputError(
                    _(
                        "The code '{code}' of the structure '{name}' does not fit into DICOM: a scheme may have "
                        "{scheme} characters, a meaning {meaning}, and neither a backslash."
                    ).format(code=str(code), name=name, scheme=_LONGEST_SCHEME, meaning=_LONGEST_MEANING)
                )

    def for_slicer(self) -> str:
        """The tag in which Slicer keeps these codes."""
        codes = [self.category, self.type, self.modifier, self.region, self.region_modifier]
        category, kind, modifier, region, region_modifier = ("^^" if code is None else str(code) for code in codes)
        return "~".join([_CATEGORIES, category, kind, modifier, _REGIONS, region, region_modifier])


DEFAULT_CODES = StructureCodes()


def parsed_codes(text: str) -> tuple[str, StructureCodes]:
    """The name and the codes of 'liver=SCT:10200004:Liver'; the category is an anatomical structure.

    Raises BadInputError when it has another form.
    """
    name, sign, code = text.rpartition("=")
    parts = [part.strip() for part in code.split(":", 2)]
    if not sign or not name.strip() or len(parts) != 3 or not all(parts):
        raise BadInputError(
            _(
                "Write the code of a structure as NAME=SCHEME:VALUE:MEANING, for example liver=SCT:10200004:Liver, not "
                "'{text}'."
            ).format(text=text)
        )
    anatomical = Code("SCT", "123037004", "Anatomical Structure")
    found = StructureCodes(anatomical, Code(*parts))
    found.require_writable(name.strip())
    return name.strip(), found
