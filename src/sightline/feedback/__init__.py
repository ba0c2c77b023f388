"""What people say of search results by marks and clicks: kept, weighed, and made into training questions."""
