"""Directional derivatives ⟨∇L_i(θ), v⟩ of all sample losses at once."""
