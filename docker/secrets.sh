#!/usr/bin/env bash
# The secrets of docker/compose.yaml, in docker/secrets/ (mode 700, files 600), and docker/.env for Compose.
#
#   docker/secrets.sh                makes what is missing; what is there stays as it is
#   docker/secrets.sh rotate NAME    a new value for postgres_password, mlflow_admin_password, flask_secret_key,
#                                    ray_token or mlflow_credentials, and says what to start anew
#
# No value is ever printed, put on a command line or into a log. ABLATE_SECRETS names another folder.
set -euo pipefail
umask 077

here=$(cd "$(dirname "$0")" && pwd)
secrets=${ABLATE_SECRETS:-$here/secrets}
settings=$secrets/../.env
driver=ablate # MLflow's user under which the cluster's drivers write; not an administrator

say() { printf '%s\n' "$*" >&2; }
random() { od -An -N 32 -tx1 /dev/urandom | tr -d ' \n'; }

# Standard input becomes the file, whole or not at all.
put() {
  local new
  new=$(mktemp "$(dirname "$1")/.new.XXXXXX")
  cat > "$new"
  [ -s "$new" ] || { say "$1: no value could be made"; exit 1; }
  chown "$uid:$gid" "$new"
  mv "$new" "$1"
}

# A file from what a command says, unless it is there: of two that start at once, one makes it.
make_once() {
  local file=$1 new=$1.$$
  shift
  [ ! -e "$file" ] || return 0
  "$@" | put "$new"
  ln "$new" "$file" 2> /dev/null || [ -e "$file" ]
  rm "$new"
}

value() {
  case $1 in
    mlflow_credentials)
      printf '[mlflow]\nmlflow_tracking_username = %s\nmlflow_tracking_password = %s\n' "$driver" "$(random)" ;;
    *) random ;;
  esac
}

# Files made of others: libpq's password file, and the configuration of MLflow's basic-auth app.
derived() {
  case $1 in
    pgpass) printf 'postgres:5432:mlflow:mlflow:%s\n' "$(< "$secrets/postgres_password")" ;;
    mlflow_auth.ini)
      printf '%s\n' '[mlflow]' \
        '# READ: everybody with a login sees every experiment; only its owner and the administrator change it.' \
        'default_permission = READ' \
        'database_uri = postgresql+psycopg2://mlflow@postgres:5432/mlflow' \
        'authorization_function = mlflow.server.auth:authenticate_request_basic_auth' \
        'admin_username = admin' \
        '# Read once, when the user store is empty.' \
        "admin_password = $(< "$secrets/mlflow_admin_password")" ;;
  esac
}

compose() { docker compose --file "$here/compose.yaml" "$@"; }

# Containers run as whoever owns the checkout, so that mode 600 suffices; as user 1000 where that is root.
uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then uid=1000 gid=1000; fi

mkdir -p "$secrets"
chmod 700 "$secrets"
chown "$uid:$gid" "$secrets"

rotate() {
  local again
  case $1 in
    postgres_password) again="mlflow" ;;
    mlflow_admin_password) again="users" ;;
    flask_secret_key) again="mlflow" ;;
    ray_token) again="ray-head worker client" ;;
    mlflow_credentials) again="users ray-head client" ;;
    *) say "rotate $1: allowed: postgres_password, mlflow_admin_password, flask_secret_key, ray_token, mlflow_credentials"
       exit 2 ;;
  esac
  local new
  new=$(value "$1")
  # Where a server keeps the value, it learns the new one first: if it does not, nothing has changed.
  case $1 in
    postgres_password)
      compose exec -T postgres psql --quiet --username mlflow --set ON_ERROR_STOP=1 mlflow <<< "ALTER ROLE mlflow PASSWORD '$new'" ;;
    mlflow_admin_password) compose run --rm -T users admin-password <<< "$new" ;;
  esac
  printf %s "$new" | put "$secrets/$1"
  if [ "$1" = postgres_password ]; then derived pgpass | put "$secrets/pgpass"; fi
  if [ "$1" = mlflow_admin_password ]; then derived mlflow_auth.ini | put "$secrets/mlflow_auth.ini"; fi
  say "$1 is new. Now: docker compose -f docker/compose.yaml up --detach --wait --force-recreate $again"
}

if [ "${1:-}" = rotate ]; then
  rotate "${2:-}"
  exit
fi

for name in postgres_password mlflow_admin_password flask_secret_key ray_token mlflow_credentials; do
  make_once "$secrets/$name" value "$name"
done
for name in pgpass mlflow_auth.ini; do
  make_once "$secrets/$name" derived "$name"
done
make_once "$settings" printf 'ABLATE_UID=%s\nABLATE_GID=%s\n' "$uid" "$gid"
