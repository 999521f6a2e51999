#!/usr/bin/env python3
"""Clients that begin an upload and then say nothing: silent_uploads.py URL COUNT...

Opens connections until there are COUNT of them, says so, and waits for a line on standard input before the next COUNT; hangs up at the end.
"""
import socket
import sys

host, port = sys.argv[1].removeprefix('http://').split(':')
clients = []
for count in map(int, sys.argv[2:]):
    while len(clients) < count:
        client = socket.create_connection((host, int(port)))
        client.sendall(b'POST /v1/datasets HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 1000\r\n\r\n')
        clients.append(client)
    print(count, 'connected', flush=True)
    sys.stdin.readline()
