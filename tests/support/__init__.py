"""What tests share: daemons as processes, made photos and packs, clients, disks, and observers of what daemons do."""
