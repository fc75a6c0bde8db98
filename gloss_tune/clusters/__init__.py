"""Workers on a cluster whose own engine supplies the processes: Slurm, Ray. The database stays the queue."""
