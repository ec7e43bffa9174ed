"""The one engine: the task contract and the one loop. It knows no system, and systems do not know it."""
