"""Update Modules: programs that install what is not a root filesystem (Mender's protocol v3)."""
