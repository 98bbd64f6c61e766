"""`fleetcd demo`: a fleet on one machine, real in every joint, that shows what fleetcd is for."""
