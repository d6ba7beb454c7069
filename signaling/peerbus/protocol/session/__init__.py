"""
The two sides of a session as state machines: inputs with the time go in, frames and events come out.

Nothing here reads a clock, opens a socket, draws a random number or waits. `client` is the client's side and
`server` the server's; the other modules are what they are made of, one noun each.
"""
