"""Ideas as switches of one recipe, each on and off over several seeds, in; what each of them brings, and costs, out."""
