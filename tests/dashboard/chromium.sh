#!/bin/sh
# Chromium for the tests in a browser: that of the system, else Debian's package if we may install it.
for name in "$WORCHFLOW_CHROMIUM" chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
install() { DEBIAN_FRONTEND=noninteractive apt-get install -yqq chromium >/dev/null 2>&1; }
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    install || { apt-get update -qq >/dev/null 2>&1 && install; } && exit 0
fi
echo "no Chromium: the tests in a browser will fail; install it, or name one in WORCHFLOW_CHROMIUM" >&2
