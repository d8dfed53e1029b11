"""Data: bringing a person's examples in: reading any file, recognising its layout, and making its rows what a method takes."""
