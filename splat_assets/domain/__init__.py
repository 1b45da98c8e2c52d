"""Splatoon's facts and rules: abilities, AP, tokens, builds, weapons, legality. Plain Python; reads only packaged facts."""
