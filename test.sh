#!/usr/bin/env bash
# Runs every test of axbridge: units, simulated-time ladders, races, loss, real sockets, SIPp, other people's user agents.
# Installs what they need from Debian's packages, and one program from PyPI, when it is missing, and says so. What cannot
# run, fails; only IPv6 may be missing, and then the last line says so.
set -euo pipefail
cd "$(dirname "$0")"

need=()
command -v sipp      >/dev/null || need+=(sip-tester)     # the stories of sip-scenarios/
command -v python3   >/dev/null || need+=(python3)        # their runner, and a customer's client
command -v php       >/dev/null || need+=(php-cli)        # another customer's client
python3 -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv)  # for schemathesis, see below
command -v espeak-ng >/dev/null || need+=(espeak-ng)      # an hour of speech in which no digit may be heard
command -v sox       >/dev/null || need+=(sox)            # plays recordings: a second opinion on the WAV files
command -v ffprobe   >/dev/null || need+=(ffmpeg)         # a third
command -v baresip   >/dev/null || need+=(baresip-core)   # user agents that call each other through us
command -v linphonec >/dev/null || need+=(linphone-cli)
perl -MNet::SIP -e 1 2>/dev/null || need+=(perl libnet-sip-perl)
command -v kamailio  >/dev/null || need+=(kamailio)       # the proxy between them
command -v tshark    >/dev/null || need+=(tshark)         # its dissectors read what we send
command -v cc        >/dev/null || need+=(gcc libc6-dev)
if [ ${#need[@]} -gt 0 ]; then
    echo "test.sh: installing for the tests: ${need[*]}"
    if [ "$(id -u)" -eq 0 ]; then as_root=(); else as_root=(sudo); fi
    if [[ " ${need[*]} " == *" kamailio "* ]] && [ -d /run/systemd/system ]; then
        # We want the program, not a service that takes this machine's port 5060.
        "${as_root[@]}" systemctl mask kamailio.service
    fi
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${need[@]}"
fi

# Sends the admin API what its own document allows and forbids; it is in no package of Debian's.
schemathesis=target/schemathesis/bin/schemathesis
if ! "$schemathesis" --version 2>/dev/null | grep -qF "$(sed 's/.*==//' tests/schema/requirements.txt)"; then
    echo "test.sh: installing for the tests, below target/: $(cat tests/schema/requirements.txt)"
    python3 -m venv --clear target/schemathesis
    target/schemathesis/bin/pip install -q --disable-pip-version-check -r tests/schema/requirements.txt
fi

has_ipv6() { grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null; }
if ! has_ipv6 && [ "$(id -u)" -eq 0 ]; then
    sysctl -qw net.ipv6.conf.lo.disable_ipv6=0 2>/dev/null || true
fi

echo "test.sh: building"
cargo build --workspace --all-targets
echo "test.sh: unit tests, ladders, races, loss, sockets, SIPp, user agents"
cargo test --workspace --no-fail-fast
if has_ipv6; then
    echo "test.sh: all tests passed"
else
    echo "test.sh: all tests passed, BUT NOTHING OF IPv6 WAS TESTED: this machine has no ::1"
fi
