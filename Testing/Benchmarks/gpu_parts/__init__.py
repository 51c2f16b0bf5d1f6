"""The parts of the benchmark `gpu`: what each measures, how they are run and stopped, and how figures are kept."""
