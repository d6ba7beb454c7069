"""The connection tester: `peerbus doctor`. The page /test makes the same checks and says the same of them."""
