"""Memory: how many bytes a run needs on its device, by part, before anything is downloaded, and what would make it fit."""
