"""Servers: which arm is served how, started and stopped, spoken to, and what they tell."""
