# shellcheck shell=bash
# Completion of sbx(1) in bash, with or without bash-completion. It runs nothing but `sbx
# profiles`, `sbx ps` and `sbx layers`.
# tests/docs compares the lists with the program, tests/completions tries them out.

# The options of a verb, in REPLY; `=` where a value follows.
_sbx_options() {
  local messages='--help --verbose --quiet --color='
  local settings='--profile= --set= --strict --ro= --rw= --hide= --tmpfs= --overlay= --root= --layer= --cwd= --chdir= --net=
    --memory= --swap= --cpus= --pids= --timeout= --env= --hostname= --name= --keep-fd= --die-with-parent --status-fd= --report'
  case $1 in
    run) REPLY="$settings $messages --version" ;;
    explain) REPLY="$settings $messages --format=" ;;
    check) REPLY="$messages --deny-warnings" ;;
    profiles) REPLY="$messages --format= --schema" ;;
    doctor) REPLY="$messages --format=" ;;
    ps) REPLY="$messages --format=" ;;
    stats) REPLY="$messages --watch --format=" ;;
    pause | resume | limit) REPLY="$messages" ;;
    stop) REPLY="$messages --grace=" ;;
    exec) REPLY="$messages --env= --chdir=" ;;
    layers) REPLY="$messages --format=" ;;
    diff) REPLY="$messages --patch --format= --json" ;;
    apply) REPLY="$messages --dry-run" ;;
    discard) REPLY="$messages" ;;
    image) REPLY="$messages --format= --layer= --max-size= --max-entries=" ;;
    completions) REPLY="$messages" ;;
    *) REPLY='' ;;
  esac
}

# The words up to the cursor, in `words`, and where each begins in COMP_WORDS, in `begin`: bash parts words at `=` and `:`
# too, which sbx does not.
_sbx_words() {
  local line=${COMP_LINE:0:COMP_POINT} word blank i
  words=() begin=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    blank=${line%%[![:space:]]*}
    line=${line#"$blank"}
    word=${COMP_WORDS[i]}
    ((i < COMP_CWORD)) || word=$line
    line=${line#"$word"}
    if [[ $i == 0 || $blank ]]; then
      words+=("$word") begin+=("$i")
    else
      words[-1]+=$word
    fi
  done
}

_sbx_reply() {
  mapfile -t COMPREPLY < <(compgen -P "$before" "$@" -- "$cur")
}

# Profiles and directories; the directories have more of them.
_sbx_files() {
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -X '!*.toml' -- "$cur" | while IFS= read -r file; do
    # What has the ending and is a directory stands above.
    [[ -d $file ]] || printf '%s\n' "$file"
  done)
}

# The value of an option.
_sbx_value() {
  local verb=$1 option=$2 typed=$3 choices='' keys='
    description app-id toolchains filesystem.arguments filesystem.accounts filesystem.overlay-driver filesystem.root filesystem.layers filesystem.writable filesystem.cwd filesystem.read filesystem.write filesystem.hide
    filesystem.tmpfs filesystem.overlay filesystem.protect home.mode namespaces.nested namespaces.hostname namespaces.time.boottime
    namespaces.time.monotonic privileges.uid privileges.capabilities network.mode limits.memory limits.memory-high limits.swap limits.cpus limits.cpu-weight
    limits.cpuset limits.pids limits.io limits.io-weight limits.cgroups limits.cgroup-depth limits.nice limits.io-priority
    limits.open-files limits.timeout limits.delegate limits.cgroup limits.cgroup-parent limits.level seccomp.allow seccomp.deny
    landlock.level landlock.scope landlock.files environment.set environment.keep display.wayland display.x11 audio.playback
    devices.gpu lifecycle.background terminal.mode'
  case $verb$option in
    image--layer) ;;
    *--cwd) choices='rw ro overlay none' ;;
    *--net) choices='none host' ;;
    *--color) choices='auto always never' ;;
    profiles--format) choices='text json names' ;;
    layers--format) choices='text json names' ;;
    ps--format) choices='text json names' ;;
    *--format) choices='text json' ;;
    *--profile)
      if [[ $typed == */* ]]; then
        _sbx_files
        return
      fi
      # Whatever the line calls sbx: what somebody has only typed is not run.
      choices=$(command sbx profiles --format names 2>/dev/null </dev/null)
      ;;
    *--set)
      [[ $typed == *=* ]] && return
      compopt -o nospace
      # shellcheck disable=SC2086 # each key is a word
      choices=$(printf '%s= ' $keys)
      ;;
    *--env) [[ $typed == *=* ]] || _sbx_reply -e ;;
    # Readline's own completion quotes best.
    *--ro | *--rw | *--hide | *--tmpfs | *--root | *--layer) compopt -o default ;;
    *--chdir | *--overlay) compopt -o dirnames ;;
  esac
  [[ ! $choices ]] || _sbx_reply -W "$choices"
}

# The sandboxes that run.
_sbx_sandboxes() {
  # Whatever the line calls sbx: what somebody has only typed is not run.
  _sbx_reply -W "$(command sbx ps --format names 2>/dev/null </dev/null)"
}

# The layers that are kept.
_sbx_layers() {
  _sbx_reply -W "$(command sbx layers --format names 2>/dev/null </dev/null)"
}

# Whether the next word is the value of this one; REPLY is what it is called in full.
_sbx_awaits() {
  case $1 in
    --*) REPLY=$1 ;;
    # Short options can stand together, and `p` may have its value behind it.
    -[!-]*) [[ ${1%%p*}p == "$1" ]] && REPLY=--profile || return ;;
    *) return 1 ;;
  esac
  local option=$REPLY
  _sbx_options "$2"
  [[ " $REPLY " == *[[:space:]]"$option="[[:space:]]* ]] && REPLY=$option
}

# The command that begins at this place of COMP_WORDS, completed as it would be without sbx.
_sbx_command() {
  if declare -F _comp_command_offset >/dev/null; then
    _comp_command_offset "$1"
    return
  elif declare -F _command_offset >/dev/null; then
    _command_offset "$1"
    return
  fi
  local i spec name part
  for ((i = 0; i < $1; i++)); do
    part=${COMP_LINE#*"${COMP_WORDS[i]}"}
    ((COMP_POINT -= ${#COMP_LINE} - ${#part}))
    COMP_LINE=$part
  done
  part=${COMP_LINE#"${COMP_LINE%%[![:space:]]*}"}
  ((COMP_POINT -= ${#COMP_LINE} - ${#part}))
  COMP_LINE=$part
  COMP_WORDS=("${COMP_WORDS[@]:$1}")
  ((COMP_CWORD -= $1))
  name=${COMP_WORDS[0]}
  spec=$(complete -p -- "$name" 2>/dev/null || complete -p -- "${name##*/}" 2>/dev/null)
  case $spec in
    *' -o nospace '*) compopt -o nospace ;;&
    *' -o filenames '*) compopt -o filenames ;;&
    *' -F '*)
      spec=${spec#* -F }
      "${spec%% *}" "$name" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
      ;;
    *) compopt -o default ;;
  esac
}

# What stands where no option's value does: the verb's own words, or the beginning of a command.
_sbx_word() {
  case $verb in
    run | explain)
      [[ $cur != */* ]] || compopt -o filenames
      _sbx_reply -c
      # Only the very first word can be a verb.
      ((last > 1)) || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$verbs" -- "$cur")
      ;;
    check) _sbx_files ;;
    stats | pause | resume | stop | exec) _sbx_sandboxes ;;
    diff | apply) _sbx_layers ;;
    limit)
      if ((operands == 0)); then
        _sbx_sandboxes
      elif [[ $typed != *=* ]]; then
        compopt -o nospace
        _sbx_reply -W 'memory= memory-high= swap= cpus= cpu-weight= cpuset= pids= io= io-weight='
      fi
      ;;
    discard) _sbx_layers ;;
    completions) _sbx_reply -W 'bash zsh fish' ;;
    image)
      if ((operands == 0)); then
        _sbx_reply -W 'import pull list show rm gc export'
      else
        compopt -o default
      fi
      ;;
  esac
}

_sbx() {
  local words begin cur typed last before='' verb=run at=1 operands=0 REPLY='' IFS=$' \t\n'
  local verbs='run explain check profiles doctor ps stats pause resume stop limit exec layers diff apply discard image completions version help'
  COMPREPLY=()
  _sbx_words
  ((last = ${#words[@]} - 1))
  typed=${words[last]}
  # What readline replaces; where it does not part words at `=`, that is the option, too.
  cur=$typed
  if [[ $COMP_WORDBREAKS == *=* ]]; then
    cur=${cur##*=}
  elif [[ $typed == --*=* ]]; then
    before=${typed%%=*}= cur=${typed#*=}
  fi
  [[ $COMP_WORDBREAKS != *:* ]] || cur=${cur##*:}
  if ((last > 1)) && [[ " $verbs " == *" ${words[1]} "* ]]; then
    verb=${words[1]} at=2
  fi
  for (( ; at < last; at++)); do
    if _sbx_awaits "${words[at]}" "$verb"; then
      if ((++at == last)); then
        _sbx_value "$verb" "$REPLY" "$typed"
        return
      fi
    elif [[ ${words[at]} == -* && ${words[at]} != -- ]]; then
      continue
    elif [[ $verb == run || $verb == explain || $verb == exec ]]; then
      [[ ${words[at]} != -- ]] || ((at++))
      if [[ $verb == exec ]] && ((at < last)); then
        # Behind the sandbox's name it goes on like a run, and `--` may stand there, too.
        verb=run
        ((++at == last)) || [[ ${words[at]} != -- ]] || ((at++))
      fi
      if ((at < last)); then
        _sbx_command "${begin[at]}"
      else
        _sbx_word
      fi
      return
    else
      ((++operands))
    fi
  done
  case $typed in
    --*=*) _sbx_value "$verb" "${typed%%=*}" "${typed#*=}" ;;
    -*)
      _sbx_options "$verb"
      _sbx_reply -W "${REPLY//=/}"
      ;;
    *) _sbx_word ;;
  esac
}

complete -F _sbx sbx
