"""Conversations: turns, their content, tools and media in one form, whichever program wrote them."""
