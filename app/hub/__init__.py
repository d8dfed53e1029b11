"""Hub: who is signed in, which models there are, and a result's way to the Hugging Face Hub."""
