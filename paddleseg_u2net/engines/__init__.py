"""One call for every inference engine, and the record of an exported folder."""
