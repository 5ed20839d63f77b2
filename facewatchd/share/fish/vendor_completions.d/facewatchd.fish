# Written by shtab (github.com/tqdm/shtab, MPL-2.0) for python -m tests.support.shell_files: change that, not this.

function _shtab_facewatchd_scan
  set -g _shtab_facewatchd_cmdpath ''
  set -g _shtab_facewatchd_npos 0
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
        if contains -- $t $_shtab_facewatchd_opts_with_value
          set expect_value 1
        end
        continue
      case '*'
        if test $_shtab_facewatchd_npos -eq 0
          set -l candidate $t
          if test -n "$_shtab_facewatchd_cmdpath"
            set candidate "$_shtab_facewatchd_cmdpath $t"
          end
          if contains -- $candidate $_shtab_facewatchd_commands
            set -g _shtab_facewatchd_cmdpath $candidate
            continue
          end
        end
        set -g _shtab_facewatchd_npos (math $_shtab_facewatchd_npos + 1)
    end
  end
end

# Condition helper: true if the current (sub)command path equals the given one.
function _shtab_facewatchd_using
  _shtab_facewatchd_scan
  test "$_shtab_facewatchd_cmdpath" = "$argv"
end

set -g _shtab_facewatchd_commands run status scan why photos pause resume verify people 'people list' 'people add' 'people not' 'people show' 'people describe' 'people rename' 'people merge' 'people forget' 'people ignore' 'people undo' 'people unknown' 'people suggest' 'people import' export import page models 'models list' 'models fetch' doctor service 'service install' 'service uninstall'
set -g _shtab_facewatchd_opts_with_value --born --box --config --data-dir --model --port --socket --state --top -n

complete -c facewatchd -e
complete -c facewatchd -f

complete -c facewatchd -n _shtab_facewatchd_using -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n _shtab_facewatchd_using -l version -d 'show program'"'"'s version number and exit'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a run -d 'Watch directories, index their photos, answer queries.'
complete -c facewatchd -n '_shtab_facewatchd_using run' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using run' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using run' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'the configuration file, see facewatchd.toml(5)'
complete -c facewatchd -n '_shtab_facewatchd_using run' -l model -xka "auto antelopev2 buffalo_l buffalo_m buffalo_s buffalo_sc raccoon_l raccoon_s opencv (__fish_complete_directories)" -d 'the model, instead of the configuration'"'"'s'
complete -c facewatchd -n '_shtab_facewatchd_using run' -l data-dir -xka "(__fish_complete_directories)" -d 'the directory of catalog and index'
complete -c facewatchd -n '_shtab_facewatchd_using run' -s v -l verbose -d 'log more'
complete -c facewatchd -n '_shtab_facewatchd_using run' -s q -l quiet -d 'log warnings and errors only'
complete -c facewatchd -n '_shtab_facewatchd_using run; and test $_shtab_facewatchd_npos -ge 0' -ka "(__fish_complete_directories)" -d 'instead of the directories in the configuration'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a status -d 'Progress, directories, model, index, rates.'
complete -c facewatchd -n '_shtab_facewatchd_using status' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using status' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using status' -l json -d 'print one JSON document; with --follow, one a line'
complete -c facewatchd -n '_shtab_facewatchd_using status' -l follow -d 'print every change until Ctrl-C'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a scan -d 'Reconcile with the disk now.'
complete -c facewatchd -n '_shtab_facewatchd_using scan' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using scan' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using scan' -l force -d 'embed unchanged photos again as well'
complete -c facewatchd -n '_shtab_facewatchd_using scan; and test $_shtab_facewatchd_npos -ge 0' -ka "(__fish_complete_path (commandline -ct))" -d 'only this file or directory (default: all directories)'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a why -d 'What is known of one file, and why it is (not) found.'
complete -c facewatchd -n '_shtab_facewatchd_using why' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using why' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using why' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using why; and test $_shtab_facewatchd_npos -eq 0' -ka "(__fish_complete_path (commandline -ct))" -d PATH
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a photos -d 'The files in one state, each with the reason.'
complete -c facewatchd -n '_shtab_facewatchd_using photos' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using photos' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using photos' -l state -xka "indexed pending no-face failed unsupported excluded" -d 'which: indexed, pending, no-face, failed, unsupported or excluded'
complete -c facewatchd -n '_shtab_facewatchd_using photos' -s 0 -l print0 -d 'print paths only, NUL between them'
complete -c facewatchd -n '_shtab_facewatchd_using photos' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a pause -d 'Stop indexing; queries go on.'
complete -c facewatchd -n '_shtab_facewatchd_using pause' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using pause' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a resume -d 'Go on indexing.'
complete -c facewatchd -n '_shtab_facewatchd_using resume' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using resume' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a verify -d 'Compare disk, catalog and index.'
complete -c facewatchd -n '_shtab_facewatchd_using verify' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using verify' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using verify' -l repair -d 'repair what can be repaired'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a people -d 'Give names to people, and take them back.'
complete -c facewatchd -n '_shtab_facewatchd_using people' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a list -d 'The people that have names, with their references and photos.'
complete -c facewatchd -n '_shtab_facewatchd_using people list' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people list' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people list' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a add -d 'Say that faces are a person, who is made when new.'
complete -c facewatchd -n '_shtab_facewatchd_using people add' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people add' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people add' -l anyway -d 'take faces that would be poor references as well'
complete -c facewatchd -n '_shtab_facewatchd_using people add' -l box -x -d 'where on the one photo the face is, if it was not found'
complete -c facewatchd -n '_shtab_facewatchd_using people add' -l whole -d 'say that the person is on the photos, whatever faces they have'
complete -c facewatchd -n '_shtab_facewatchd_using people add' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people add; and test $_shtab_facewatchd_npos -ge 1' -ka "(__fish_complete_path (commandline -ct))" -d 'a photo, PHOTO#N (its Nth face), face:ID, group:ID or '"'"'-'"'"''
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a not -d 'Say that faces are not a person, whatever they score.'
complete -c facewatchd -n '_shtab_facewatchd_using people not' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people not' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people not' -l box -x -d 'where on the one photo the face is, if it was not found'
complete -c facewatchd -n '_shtab_facewatchd_using people not' -l whole -d 'say that the person is not on the photos, whatever faces they have'
complete -c facewatchd -n '_shtab_facewatchd_using people not' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people not; and test $_shtab_facewatchd_npos -ge 1' -ka "(__fish_complete_path (commandline -ct))" -d 'a photo, PHOTO#N (its Nth face), face:ID, group:ID or '"'"'-'"'"''
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a show -d 'What was said of a person.'
complete -c facewatchd -n '_shtab_facewatchd_using people show' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people show' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people show' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a describe -d 'Say when a person was born, or hide the name.'
complete -c facewatchd -n '_shtab_facewatchd_using people describe' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people describe' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people describe' -l born -xka "none" -d 'the year, month or day of birth, such as 2019, 2019-06 or 2019-06-30'
complete -c facewatchd -n '_shtab_facewatchd_using people describe' -l hide -d 'name no face after this person; questions for @NAME are answered'
complete -c facewatchd -n '_shtab_facewatchd_using people describe' -l show -d 'name faces again'
complete -c facewatchd -n '_shtab_facewatchd_using people describe' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a rename -d 'Give a person another name.'
complete -c facewatchd -n '_shtab_facewatchd_using people rename' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people rename' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people rename' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a merge -d 'Say that two people are one.'
complete -c facewatchd -n '_shtab_facewatchd_using people merge' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people merge' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people merge' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a forget -d 'Delete a person and all that was said of it, for good.'
complete -c facewatchd -n '_shtab_facewatchd_using people forget' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people forget' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people forget' -l yes -d 'do not ask'
complete -c facewatchd -n '_shtab_facewatchd_using people forget' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a ignore -d 'Leave faces out of what is unknown and suggested: they are of strangers.'
complete -c facewatchd -n '_shtab_facewatchd_using people ignore' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people ignore' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people ignore' -l not -d 'bring them back: they are ignored no more, with a group all of it'
complete -c facewatchd -n '_shtab_facewatchd_using people ignore' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people ignore; and test $_shtab_facewatchd_npos -ge 0' -ka "(__fish_complete_path (commandline -ct))" -d 'a photo, PHOTO#N (its Nth face), face:ID, group:ID or '"'"'-'"'"''
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a undo -d 'Take back the last change; as often as there are changes.'
complete -c facewatchd -n '_shtab_facewatchd_using people undo' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people undo' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people undo' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a unknown -d 'The groups of faces that have no name, those on most photos first.'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -s n -l top -x -d 'at most N groups, 0 for all (default: 20 on a terminal, else all)'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -l ignored -d 'those that are ignored, in place of the others'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -l show -d 'also the clearest faces as pictures, in a terminal'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -s 0 -l print0 -d 'print PHOTO#N of each only, NUL between them'
complete -c facewatchd -n '_shtab_facewatchd_using people unknown' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a suggest -d 'Faces that may be a person and of which nothing was said, that which teaches most first.'
complete -c facewatchd -n '_shtab_facewatchd_using people suggest' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people suggest' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people suggest' -s n -l top -x -d 'at most N faces, 0 for all (default: 20)'
complete -c facewatchd -n '_shtab_facewatchd_using people suggest' -l show -d 'also the faces as pictures, in a terminal'
complete -c facewatchd -n '_shtab_facewatchd_using people suggest' -s 0 -l print0 -d 'print face:ID of each only, NUL between them'
complete -c facewatchd -n '_shtab_facewatchd_using people suggest' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people; and test $_shtab_facewatchd_npos -eq 0' -a import -d 'Read the names that other programs wrote: face regions of the Metadata Working Group (digiKam, Lightroom, Picasa, Apple) and of Microsoft in photos, in `a.jpg.xmp` and in `a.xmp`, Picasa'"'"'s `.picasa.ini`, and the names in Google Takeout'"'"'s JSON files. Each is held against the faces that were found, and against what you said before, which it never replaces. Without --apply it is only shown.'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -l dry-run -d 'only show what would be said (the default)'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -l apply -d 'say it; `facewatchd people undo` takes all of it back'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -l proposals -d 'with --apply, also names without a place, where one face and one name are left'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -l without-face -d 'with --apply, also names where no face was found: the person is then on the photo without a face'
complete -c facewatchd -n '_shtab_facewatchd_using people import' -l json -d 'print one JSON document'
complete -c facewatchd -n '_shtab_facewatchd_using people import; and test $_shtab_facewatchd_npos -eq 0' -ka "(__fish_complete_directories)" -d 'only photos below it, or one photo (default: all)'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a export -d 'Write everything that you said of people to a new file that only you can read, as JSON lines: a backup of what cannot be made again. `facewatchd import` takes it back, on this machine or another one, wherever the photos lie then: they are known by their bytes. It names people and tells which photos they are on.'
complete -c facewatchd -n '_shtab_facewatchd_using export' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using export' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using export' -l embeddings -d 'also all faces: an import on a machine with the same model then has nothing to embed'
complete -c facewatchd -n '_shtab_facewatchd_using export; and test $_shtab_facewatchd_npos -eq 0' -ka "(__fish_complete_path (commandline -ct))" -d 'the file to make, which must not be there; - is standard output'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a import -d 'Say what an export says, beside what was said here: people of one name are one person, and of two statements that contradict each other the later one counts. Faces in it are taken where they are of the model that runs: their photos are then not embedded. Nothing is imported of a file in which a line is wrong. To import again changes nothing; `facewatchd people undo` takes the names back.'
complete -c facewatchd -n '_shtab_facewatchd_using import' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using import' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using import; and test $_shtab_facewatchd_npos -eq 0' -ka "(__fish_complete_path (commandline -ct))" -d 'what export wrote; - is standard input'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a page -d 'A web page for you alone: ask, look, name, confirm.'
complete -c facewatchd -n '_shtab_facewatchd_using page' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using page' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using page' -l port -x -d 'the port (default: a free one)'
complete -c facewatchd -n '_shtab_facewatchd_using page' -l no-open -d 'only print the address, open no browser'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a models -d 'List and fetch models.'
complete -c facewatchd -n '_shtab_facewatchd_using models' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using models; and test $_shtab_facewatchd_npos -eq 0' -a list -d 'The packs that can be chosen, and where they are.'
complete -c facewatchd -n '_shtab_facewatchd_using models list' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using models list' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using models list' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'the configuration file, see facewatchd.toml(5)'
complete -c facewatchd -n '_shtab_facewatchd_using models; and test $_shtab_facewatchd_npos -eq 0' -a fetch -d 'Fetch a model to this machine.'
complete -c facewatchd -n '_shtab_facewatchd_using models fetch' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using models fetch' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'the configuration file, see facewatchd.toml(5)'
complete -c facewatchd -n '_shtab_facewatchd_using models fetch; and test $_shtab_facewatchd_npos -eq 0' -ka "antelopev2 buffalo_l buffalo_m buffalo_s buffalo_sc raccoon_l raccoon_s opencv (__fish_complete_path (commandline -ct))" -d 'a released pack, or a pack'"'"'s zip file or directory'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a doctor -d 'Check this machine, and try the way from a photo to an answer.'
complete -c facewatchd -n '_shtab_facewatchd_using doctor' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using doctor' -l socket -xka "(__fish_complete_path (commandline -ct))" -d 'the daemon'"'"'s socket'
complete -c facewatchd -n '_shtab_facewatchd_using doctor' -l json -d 'print a JSON list'
complete -c facewatchd -n '_shtab_facewatchd_using doctor' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'the configuration file, see facewatchd.toml(5)'
complete -c facewatchd -n '_shtab_facewatchd_using doctor' -l model -xka "auto antelopev2 buffalo_l buffalo_m buffalo_s buffalo_sc raccoon_l raccoon_s opencv (__fish_complete_directories)" -d 'the model, instead of the configuration'"'"'s'
complete -c facewatchd -n '_shtab_facewatchd_using doctor' -l data-dir -xka "(__fish_complete_directories)" -d 'the directory of catalog and index'
complete -c facewatchd -n '_shtab_facewatchd_using; and test $_shtab_facewatchd_npos -eq 0' -a service -d 'Install or remove the systemd user units that run the daemon.'
complete -c facewatchd -n '_shtab_facewatchd_using service' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using service; and test $_shtab_facewatchd_npos -eq 0' -a install -d 'Write the units, and print the next command.'
complete -c facewatchd -n '_shtab_facewatchd_using service install' -s h -l help -d 'show this help message and exit'
complete -c facewatchd -n '_shtab_facewatchd_using service install' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'the configuration file, see facewatchd.toml(5)'
complete -c facewatchd -n '_shtab_facewatchd_using service install' -l model -xka "auto antelopev2 buffalo_l buffalo_m buffalo_s buffalo_sc raccoon_l raccoon_s opencv (__fish_complete_directories)" -d 'the model, instead of the configuration'"'"'s'
complete -c facewatchd -n '_shtab_facewatchd_using service install' -l data-dir -xka "(__fish_complete_directories)" -d 'the directory of catalog and index'
complete -c facewatchd -n '_shtab_facewatchd_using service install' -l gpu -d 'also open the sandbox for the configured device, with a drop-in'
complete -c facewatchd -n '_shtab_facewatchd_using service install' -l page -d 'also put the page into the desktop'"'"'s menu, with ~/.local/share/applications'
complete -c facewatchd -n '_shtab_facewatchd_using service install; and test $_shtab_facewatchd_npos -ge 0' -ka "(__fish_complete_directories)" -d 'instead of the directories in the configuration'
complete -c facewatchd -n '_shtab_facewatchd_using service; and test $_shtab_facewatchd_npos -eq 0' -a uninstall -d 'Remove the units; data and configuration stay.'
complete -c facewatchd -n '_shtab_facewatchd_using service uninstall' -s h -l help -d 'show this help message and exit'
