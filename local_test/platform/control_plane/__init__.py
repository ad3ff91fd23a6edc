"""SageMaker at home: training jobs, endpoints and batch transform, by containers of this machine.

S3, logs and all other services are those of moto; the APIs of SageMaker that run something run it.
"""
