"""Workers on a cluster whose own engine supplies the processes: Slurm. The database stays the queue."""
