"""`./dev bench transport`: what is run, by which judge, held against which bars, and how it is shown."""
