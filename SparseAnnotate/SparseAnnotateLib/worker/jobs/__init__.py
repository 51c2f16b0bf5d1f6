"""Jobs that run without the process that submitted them: on this computer, or through Slurm; both by submitit.

A job is a folder of the cohort, `jobs/<id>`: `job.json` says what to do, a folder for each part says how far it is.
`submission` hands it to submitit, `part_process` is what runs in the job, and `part_work` does the work in a child of
it. `states` reads the folder again and asks Slurm.
"""
