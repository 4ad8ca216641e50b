"""MLflow's users, by its REST API, as its administrator.

In a container of the service `users`:

users.py driver            the user whom mlflow_credentials names exists and has that password
users.py add NAME          a new user; prints what goes into its ~/.mlflow/credentials
users.py reset NAME        a new password for a user, printed in the same way
users.py admin-password    the administrator's new password, from standard input
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path

SERVER = os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
SECRETS = Path(os.environ.get("ABLATE_SECRETS", "/run/secrets"))
ADMIN = "admin"
CREDENTIALS = "[mlflow]\nmlflow_tracking_username = {}\nmlflow_tracking_password = {}\n"


def ask(method: str, endpoint: str, **body: str) -> int:
    """MLflow's HTTP status; 200 is done.

    Raises:
        HTTPError: a refusal that isn't "exists already" (400) or "is not there" (404).
    """
    login = f"{ADMIN}:{(SECRETS / 'mlflow_admin_password').read_text().strip()}"
    request = urllib.request.Request(
        f"{SERVER}/api/2.0/mlflow/users/{endpoint}",
        data=json.dumps(body).encode() if body else None,
        method=method,
        headers={
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        if error.code in (400, 404):
            message = json.loads(error.read()).get("message", "")
            print(message.partition(" Error:")[0], file=sys.stderr)  # the rest is SQL, with a password's hash
            return error.code
        if error.code == 401:
            sys.exit("MLflow does not take the administrator's password that mlflow_admin_password holds")
        raise


def ensure(name: str, password: str) -> int:
    if ask("GET", f"get?username={name}") == 404:
        return ask("POST", "create", username=name, password=password)
    return ask("PATCH", "update-password", username=name, password=password)


def main(words: list[str]) -> int:
    match words:
        case ["driver"]:
            driver = configparser.ConfigParser(interpolation=None)
            driver.read_string((SECRETS / "mlflow_credentials").read_text())
            login = driver["mlflow"]
            return ensure(login["mlflow_tracking_username"], login["mlflow_tracking_password"]) != 200
        case ["add" | "reset" as command, name]:
            password = secrets.token_urlsafe(24)
            method, endpoint = ("POST", "create") if command == "add" else ("PATCH", "update-password")
            if ask(method, endpoint, username=name, password=password) != 200:
                return 1
            print(CREDENTIALS.format(name, password), end="")
            return 0
        case ["admin-password"]:
            current = (SECRETS / "mlflow_admin_password").read_text().strip()
            new = sys.stdin.readline().strip()
            return ask("PATCH", "update-password", username=ADMIN, password=new, current_password=current) != 200
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
