//! Floor 1: where log lines go: the terminal, the journal, the JSONL file.
