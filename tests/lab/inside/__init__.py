"""What runs inside a guest: plain clients on the guest kernel's sockets, called by `Guest.call`."""
