"""What each finding of `etcdup check` means, by its code. Only `explain` and tests import this."""

from etcdup.core.rules.codes_causes import CAUSE_CODES
from etcdup.core.rules.codes_cluster import CLUSTER_CODES
from etcdup.core.rules.codes_host import HOST_CODES
from etcdup.core.rules.codes_settings import SETTINGS_CODES
from etcdup.core.rules.codes_space import SPACE_CODES
from etcdup.core.rules.model import Code

_ALL = (*CAUSE_CODES, *CLUSTER_CODES, *HOST_CODES, *SETTINGS_CODES, *SPACE_CODES)
CODES: dict[str, Code] = {each.code: each for each in _ALL}
