# Sourced by the other scripts: a virtual environment with the wanted extra, made once and kept up to date.

die() { printf '%s\n' "$*" >&2; exit 1; }

# The newest Python from 3.11 on.
find_python() {
  local name
  for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
    if command -v "$name" >/dev/null 2>&1 &&
      "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  die "Python 3.11 or newer is needed, and none was found."
}

# make_venv EXTRA: .venv with this checkout installed editable. Does nothing when pyproject.toml has not changed.
make_venv() {
  local extra=$1 stamp python
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    # Debian keeps ensurepip in a package of its own; any pip can then furnish the environment from outside.
    "$python" -m venv .venv >/dev/null 2>&1 ||
      { "$python" -m venv --clear --without-pip .venv && "$python" -m pip --quiet --python .venv/bin/python install pip; } ||
      die "No virtual environment could be made with $python."
  fi
  stamp=".venv/.installed-$extra"
  if ! cmp -s pyproject.toml "$stamp"; then
    echo "Installing .[$extra] into .venv ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
    cp pyproject.toml "$stamp"
    # What [test] needs includes what [demo] needs.
    if [ "$extra" = test ]; then cp pyproject.toml .venv/.installed-demo; fi
  fi
}
