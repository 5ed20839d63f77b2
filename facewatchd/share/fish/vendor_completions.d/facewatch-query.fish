# Written by shtab (github.com/tqdm/shtab, MPL-2.0) for python -m tests.support.shell_files: change that, not this.

function _shtab_facewatch_query_scan
  set -g _shtab_facewatch_query_cmdpath ''
  set -g _shtab_facewatch_query_npos 0
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
        if contains -- $t $_shtab_facewatch_query_opts_with_value
          set expect_value 1
        end
        continue
      case '*'
        if test $_shtab_facewatch_query_npos -eq 0
          set -l candidate $t
          if test -n "$_shtab_facewatch_query_cmdpath"
            set candidate "$_shtab_facewatch_query_cmdpath $t"
          end
          if contains -- $candidate $_shtab_facewatch_query_commands
            set -g _shtab_facewatch_query_cmdpath $candidate
            continue
          end
        end
        set -g _shtab_facewatch_query_npos (math $_shtab_facewatch_query_npos + 1)
    end
  end
end

# Condition helper: true if the current (sub)command path equals the given one.
function _shtab_facewatch_query_using
  _shtab_facewatch_query_scan
  test "$_shtab_facewatch_query_cmdpath" = "$argv"
end

set -g _shtab_facewatch_query_commands
set -g _shtab_facewatch_query_opts_with_value --copy-to --dir --face --faces --html --link-to --min-size --new --sheet --since --socket --sort --threshold --top --until --wait --with --without -d -n

complete -c facewatch-query -e
complete -c facewatch-query -f

complete -c facewatch-query -n _shtab_facewatch_query_using -s h -l help -d 'show this help message and exit'
complete -c facewatch-query -n _shtab_facewatch_query_using -s n -l top -x -d 'at most N photos (0 = all; default: as configured, else 20)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l threshold -x -d 'least similarity, -1 to 1 (default: as configured, else the model'"'"'s own; below that, blur is ignored)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l face -xka "largest all" -d 'which face of the photo (default largest; N counts left to right from 0)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l list-faces -d 'print the photo'"'"'s faces, and what speaks against each; no search'
complete -c facewatch-query -n _shtab_facewatch_query_using -l who -d 'with --list-faces: also the person that each face is'
complete -c facewatch-query -n _shtab_facewatch_query_using -s d -l dir -xka "(__fish_complete_directories)" -d 'only photos under PATH, or HOST:PATH of another machine (repeatable)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l min-size -x -d 'only faces at least PX on their shorter side'
complete -c facewatch-query -n _shtab_facewatch_query_using -l with -xka "(__fish_complete_path (commandline -ct))" -d 'only photos that also show WHO (repeatable)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l without -xka "(__fish_complete_path (commandline -ct))" -d 'only photos on which WHO is not seen (repeatable)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l strict -d 'with --without: drop photos with faces too poor to tell'
complete -c facewatch-query -n _shtab_facewatch_query_using -l only -d 'only photos with no other face'
complete -c facewatch-query -n _shtab_facewatch_query_using -l faces -x -d 'only photos with so many faces'
complete -c facewatch-query -n _shtab_facewatch_query_using -l since -x -d 'only photos taken on DATE or later: 2019, 2019-06, 2019-06-30'
complete -c facewatch-query -n _shtab_facewatch_query_using -l until -x -d 'only photos taken on DATE or earlier'
complete -c facewatch-query -n _shtab_facewatch_query_using -l no-collapse -d 'show every copy of a photo and every frame of a burst, instead of one of them'
complete -c facewatch-query -n _shtab_facewatch_query_using -l sort -xka "similarity date -date path" -d 'the order of the matches (default: similarity)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l new -x -d 'only photos that an earlier call with this NAME did not print'
complete -c facewatch-query -n _shtab_facewatch_query_using -l follow -d 'go on, and print matches as photos arrive'
complete -c facewatch-query -n _shtab_facewatch_query_using -l explain -d 'why a match may be wrong, and how many are to be expected wrong'
complete -c facewatch-query -n _shtab_facewatch_query_using -l sheet -xka "(__fish_complete_path (commandline -ct))" -d 'also draw a picture: the query face, then the matches (.png .jpg .webp .pdf); replaces only a sheet'
complete -c facewatch-query -n _shtab_facewatch_query_using -l show -d 'also show the faces as pictures, in a terminal'
complete -c facewatch-query -n _shtab_facewatch_query_using -l html -xka "(__fish_complete_path (commandline -ct))" -d 'also write a page with all pictures in it, to look through in a browser; replaces only such a page'
complete -c facewatch-query -n _shtab_facewatch_query_using -l open -d 'show the sheet, or the album, in the desktop'"'"'s viewer; without either, a sheet that is not kept'
complete -c facewatch-query -n _shtab_facewatch_query_using -l link-to -xka "(__fish_complete_directories)" -d 'also put links to the photos into DIR; all of them, unless -n is given'
complete -c facewatch-query -n _shtab_facewatch_query_using -l copy-to -xka "(__fish_complete_directories)" -d 'also put copies of the photos into DIR; all of them, unless -n is given'
complete -c facewatch-query -n _shtab_facewatch_query_using -l sync -d 'with --link-to: remove its links in DIR that match no more'
complete -c facewatch-query -n _shtab_facewatch_query_using -s l -l paths -d 'print paths only, each photo once'
complete -c facewatch-query -n _shtab_facewatch_query_using -s 0 -l print0 -d 'the same, NUL between them'
complete -c facewatch-query -n _shtab_facewatch_query_using -l hosts -d 'with -l or -0: also photos on other machines, as host:/path'
complete -c facewatch-query -n _shtab_facewatch_query_using -l json -d 'print one JSON document, see facewatchd-protocol(7)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l wait -x -d 'first wait until everything written before the call is searchable (default 60)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l exact -d 'compare with every face instead of the index'
complete -c facewatch-query -n _shtab_facewatch_query_using -l shared -d 'also ask the shared engine, for photos on other machines (default: if it is configured, without -l and -0)'
complete -c facewatch-query -n _shtab_facewatch_query_using -l local -d 'never ask the shared engine: photos on this machine only'
complete -c facewatch-query -n _shtab_facewatch_query_using -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatch-query -n _shtab_facewatch_query_using -s q -l quiet -d 'print results and errors only'
complete -c facewatch-query -n _shtab_facewatch_query_using -s v -l verbose -d 'also threshold, model and way of search'
complete -c facewatch-query -n _shtab_facewatch_query_using -l version -d 'show program'"'"'s version number and exit'
complete -c facewatch-query -n '_shtab_facewatch_query_using; and test $_shtab_facewatch_query_npos -ge 0' -ka "(__fish_complete_path (commandline -ct))" -d 'a photo, PHOTO#N (its Nth face), @NAME, face:ID, group:ID (unknown faces) or '"'"'-'"'"' (a photo on standard input); several are the same person'
