"""Tables: a Spec's sources as the tables a trainer gets, prepared once and kept."""
