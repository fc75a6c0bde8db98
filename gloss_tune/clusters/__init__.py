"""Workers on a cluster whose engine supplies the processes: Slurm, Ray, Kubernetes. The database stays the queue."""
