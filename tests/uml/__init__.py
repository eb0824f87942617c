"""The machine of User Mode Linux: systemd, delegated cgroups, AppArmor, reboots and power cuts, for real."""
