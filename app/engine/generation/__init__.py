"""Text written by a model: sampling, chat, tool calls."""
