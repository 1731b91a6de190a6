#!/usr/bin/env bash
# Makes the default prompts from texts.tsv: mono A-law WAV (format 6), 8,000 Hz, 64 kbit/s.
#
#   ./make.sh          into the folder of this script
#   ./make.sh DIR      into DIR (to compare with what is committed)
#
# The same espeak-ng and sox give the same bytes each time.
set -euo pipefail
# espeak-ng takes the encoding of its text and sox the form of its numbers from the locale.
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here}

for tool in espeak-ng sox; do
  command -v "$tool" >/dev/null || { echo "make.sh: $tool is missing (Debian: apt-get install espeak-ng sox)" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out/zh" "$out/en"

# -D and -R: no dither and no random seed, so that a second run writes the same bytes.
to_alaw() { # <in> <out> <effect...>
  local from=$1 to=$2
  shift 2
  sox -D -R "$from" -e a-law -r 8000 -c 1 -b 8 "$to" "$@"
}

# The voice reads 重 as zhòng; in these words it is chóng. Latin letters are pinyin to this voice.
pronounce_zh() { sed -e 's/重新/chong2 xin1 /g' -e 's/重试/chong2 shi4 /g'; }

# Both ends are cut where the level falls below -46 dBFS and 100 ms of silence is put back. Peak -6 dBFS leaves headroom
# for trunks that amplify; the band is that of a telephone, so that nothing folds over at 8,000 Hz.
speak() { # <voice> <words a minute> <text> <out>
  espeak-ng -b 1 -v "$1" -s "$2" -w "$work/speech.wav" -- "$3"
  sox -D -R "$work/speech.wav" -r 8000 "$work/trimmed.wav" \
    gain -3 rate -v 8000 sinc 300-3400 \
    silence 1 0.005 0.5% reverse silence 1 0.005 0.5% reverse
  to_alaw "$work/trimmed.wav" "$4" gain -n -6 fade h 0.005 -0 0.005 pad 0.1 0.1
}

while IFS=$'\t' read -r name zh en; do
  case $name in '' | '#'*) continue ;; esac
  # cmn-latn-pinyin, not cmn: espeak-ng turns Chinese into pinyin first, and cmn then spells that out in English ("an one …").
  speak cmn-latn-pinyin 170 "$(pronounce_zh <<<"$zh")" "$out/zh/$name.wav"
  speak en-us 160 "$en" "$out/en/$name.wav"
done <"$here/texts.tsv"

# Ringback of China's networks: 450 Hz, 1 s on, 4 s off, -10 dBm0 (a full-scale sine is +3.14 dBm0, hence -13.1 dBFS).
# The soft edges keep the tone from clicking; whole periods in 5 s let it loop.
sox -D -R -n -r 8000 -c 1 -b 16 "$work/on.wav" synth 1 sine 450 gain -13.1 fade h 0.005 1 0.005
to_alaw "$work/on.wav" "$out/ringback.wav" pad 0 4
