"""An S3 server in this process, on a free port of the loopback, for as long as standard input stays open.

Prints the environment that clients need, one NAME=VALUE per line, then an empty line.
"""
import logging
import os
import sys

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "thalweg-test"

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
environment = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT": endpoint,
    "AWS_ENDPOINT_URL": endpoint,
    "AWS_ALLOW_HTTP": "true",
    "THALWEG_TEST_S3_ENDPOINT": endpoint,
    "THALWEG_TEST_S3_BUCKET": BUCKET,
}
os.environ.update(environment)
boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
for name, value in environment.items():
    print(f"{name}={value}")
print(flush=True)
sys.stdin.read()
server.stop()
