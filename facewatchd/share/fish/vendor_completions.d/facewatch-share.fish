# Written by shtab (github.com/tqdm/shtab, MPL-2.0) for python -m tests.support.shell_files: change that, not this.

function _shtab_facewatch_share_scan
  set -g _shtab_facewatch_share_cmdpath ''
  set -g _shtab_facewatch_share_npos 0
  set -l tokens (commandline -opc)
  set -e tokens[1]
  set -l expect_value 0
  for t in $tokens
    if test $expect_value -eq 1
      set expect_value 0
      continue
    end
    switch "$t"
      case '--*=*'
        continue
      case '-*'
        if contains -- $t $_shtab_facewatch_share_opts_with_value
          set expect_value 1
        end
        continue
      case '*'
        if test $_shtab_facewatch_share_npos -eq 0
          set -l candidate $t
          if test -n "$_shtab_facewatch_share_cmdpath"
            set candidate "$_shtab_facewatch_share_cmdpath $t"
          end
          if contains -- $candidate $_shtab_facewatch_share_commands
            set -g _shtab_facewatch_share_cmdpath $candidate
            continue
          end
        end
        set -g _shtab_facewatch_share_npos (math $_shtab_facewatch_share_npos + 1)
    end
  end
end

# Condition helper: true if the current (sub)command path equals the given one.
function _shtab_facewatch_share_using
  _shtab_facewatch_share_scan
  test "$_shtab_facewatch_share_cmdpath" = "$argv"
end

set -g _shtab_facewatch_share_commands
set -g _shtab_facewatch_share_opts_with_value --config --socket

complete -c facewatch-share -e
complete -c facewatch-share -f

complete -c facewatch-share -n _shtab_facewatch_share_using -s h -l help -d 'show this help message and exit'
complete -c facewatch-share -n _shtab_facewatch_share_using -l version -d 'show program'"'"'s version number and exit'
complete -c facewatch-share -n _shtab_facewatch_share_using -l config -xka "(__fish_complete_path (commandline -ct))" -d 'the configuration file, see facewatchd.toml(5)'
complete -c facewatch-share -n _shtab_facewatch_share_using -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket; its own is made beside it'
complete -c facewatch-share -n _shtab_facewatch_share_using -s v -l verbose -d 'log more'
complete -c facewatch-share -n _shtab_facewatch_share_using -s q -l quiet -d 'log warnings and errors only'
