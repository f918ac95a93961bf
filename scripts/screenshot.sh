#!/usr/bin/env bash
# Takes the pictures of the README: the overlay example after two minutes of play, or the delegation
# example after 40 seconds, drawn by the CPU (lavapipe) on a display that nobody sees (Xvfb). Needs
# Debian or Ubuntu and cargo.
#
# Usage: scripts/screenshot.sh [--install] [--delegation] [FILE]
#   --install     installs missing packages with apt-get; root in CI does so without being asked
#   --delegation  the delegation example, not the overlay example
#   FILE          the picture, assets/overlay.png or assets/delegation.png if not given
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(mesa-vulkan-drivers xvfb xauth libxkbcommon-x11-0 libxcursor1 libxi6 libxrandr2)
example=overlay
arguments=(--seconds 120)
file=
install=false
[[ -n ${CI:-} && $(id -u) == 0 ]] && install=true

for argument in "$@"; do
    case $argument in
    --install) install=true ;;
    --delegation)
        example=delegation
        arguments=(--seconds 40 --bots 5 --watch)
        ;;
    -h | --help)
        sed -n 's/^# \?//; 2,9p' "$0"
        exit
        ;;
    -*)
        echo "error: $argument is not known; see --help" >&2
        exit 2
        ;;
    *) file=$argument ;;
    esac
done

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]})) && ! $install; then
    echo "error: these packages are missing: ${missing[*]}" >&2
    echo "install them, or run this again with --install" >&2
    exit 1
fi
if ((${#missing[@]})); then
    as_root=()
    [[ $(id -u) == 0 ]] || as_root=(sudo)
    echo "installing ${missing[*]}"
    "${as_root[@]}" apt-get update --quiet
    "${as_root[@]}" apt-get install --quiet --yes --no-install-recommends "${missing[@]}"
fi

file=${file:-assets/$example.png}

cargo build --example "$example" --features window
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

# The driver that needs no GPU, even where there is one.
VK_DRIVER_FILES=$(printf '%s:' /usr/share/vulkan/icd.d/lvp_icd*.json)
VK_ICD_FILENAMES=$VK_DRIVER_FILES
export VK_DRIVER_FILES VK_ICD_FILENAMES WGPU_BACKEND=vulkan
# What Vulkan's loader asks for; nothing is written there.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}

mkdir -p "$(dirname "$file")"
rm -f "$file"
timeout 600 xvfb-run --auto-servernum --server-args='-screen 0 1600x1000x24' \
    "$target/debug/examples/$example" --screenshot "$file" "${arguments[@]}"
[[ -s $file ]] || {
    echo "error: no picture was written" >&2
    exit 1
}
echo "wrote $file"
