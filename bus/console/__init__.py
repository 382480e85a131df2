"""The pages: the desk of clerks and the citizen's tracking page, made on the server and usable without scripts."""
