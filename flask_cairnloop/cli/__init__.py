"""``flask cairnloop …``: the command line, one module a subject."""

from __future__ import annotations

from flask.cli import AppGroup

from flask_cairnloop.cli.audit import audit
from flask_cairnloop.cli.customers import customers
from flask_cairnloop.cli.doctor import doctor
from flask_cairnloop.cli.evaluate import evaluate
from flask_cairnloop.cli.index import index
from flask_cairnloop.cli.install import install
from flask_cairnloop.cli.jobs import jobs
from flask_cairnloop.cli.kb import kb
from flask_cairnloop.cli.tokens import tokens
from flask_cairnloop.cli.worker import worker

group = AppGroup("cairnloop", help="The support desk inside this app.")
for command in (install, doctor, worker, jobs, kb, index, evaluate, customers, audit, tokens):
    group.add_command(command)
