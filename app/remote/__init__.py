"""Runs on other machines: what travels there, the process that brings back what they tell, and the machines a person added."""
