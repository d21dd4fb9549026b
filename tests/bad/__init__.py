"""Components that break their promises, one way each: proof that the contracts bite."""
