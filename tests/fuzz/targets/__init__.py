"""The targets: each a function of bytes that returns, or raises one of our errors; anything else is a finding."""
