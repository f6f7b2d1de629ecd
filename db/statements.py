"""SQL texts: read for their parameters once, however often they are executed.

SQLAlchemy reads a text, and makes the key under which it finds it compiled, each time that one is
made: 10 to 40 µs of each statement. The same text is the same statement.
"""

from functools import lru_cache

import sqlalchemy

MOST = 512  # ours are some 150, whatever is searched for

text = lru_cache(maxsize=MOST)(sqlalchemy.text)
