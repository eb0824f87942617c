"""Building images from Containerfiles: reading the file, its stages as a graph, and a step for each instruction.

Each step is a function from a `state.State` to the next one; a step that changes files makes one layer. What a step
would make is looked up first in a cache whose key is all that it depends on. The package stands above the engine, whose
means it uses (layers, stacks, workers, Specs, launching), and below the command line.
"""
