"""infoflow: where image information flows inside large vision-language models.

The public names stand in ``__init__.pyi``. Each is imported when it is first used, so that running
a notebook or listing commands need not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
